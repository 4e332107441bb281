-- Send messages, all of them or none.
-- KEYS 1 alive 2 eta 3 eta:m 4 eta:n 5 mark of this call 6.. the lists
-- ARGV per list: its wake channel, '1' when nobody blocks for it
--      then per message: number of its list, envelope, due ms or '', once-key or ''
-- Returns 1, or 0 when this call was carried out before.
local FIRST = 6
local wrong = refusal(FIRST)
if wrong then return wrong end
if not redis.call('SET', KEYS[5], '1', 'NX', 'EX', 600) then return 0 end
local now = clock()
local waits = promoted(KEYS[1], now)
for at = (#KEYS - FIRST + 1) * 2 + 1, #ARGV, 4 do
  local number, raw, due, once = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if once == '' or redis.call('SET', once, '1', 'NX', 'EX', 3600) then
    local list, channel = KEYS[FIRST + number - 1], ARGV[number * 2 - 1]
    if due ~= '' and waits and tonumber(due) > now then
      delay(KEYS[2], KEYS[3], KEYS[4], list, raw, due, channel)
    else
      add(back, list, raw)
      if ARGV[number * 2] == '1' then woken[channel] = true end
    end
  end
end
deliver()
return 1
