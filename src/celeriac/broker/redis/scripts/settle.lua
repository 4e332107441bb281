-- Carry out completions whose lease holds: result, follow-ups, verdict.
-- KEYS 1 unacked 2 unacked_index 3 lease 4 started 5 alive 6 eta 7 eta:m 8 eta:n 9 dead 10 dead:m
--      11.. the lists that follow-ups and returned messages go to
-- ARGV 1 ms that dead letters are kept, then per list: its wake channel, '1' when nobody blocks for
--      it; then per completion:
--      token
--      '1' result key, payload, ttl ms, won, mark (see result.lua)  |  '0'
--      number of follow-ups, then for each: number of its list, envelope, due ms or '', once-key
--      'A' | 'R' number of its list, envelope, delay ms | 'D' id, record
-- Returns for each completion 1 where its lease held, else 0.
local FIRST = 11
local wrong = refusal(FIRST)
if wrong then return wrong end
local now, died, held, tokens, buried = clock(), moment(), {}, {}, false
local waits = promoted(KEYS[5], now)
local at = 2 + (#KEYS - FIRST + 1) * 2

local function enqueue(number, raw, due)
  local list, channel = KEYS[FIRST + number - 1], ARGV[number * 2]
  if due ~= '' and waits and tonumber(due) > now then
    delay(KEYS[6], KEYS[7], KEYS[8], list, raw, due, channel)
  else
    add(back, list, raw)
    if ARGV[number * 2 + 1] == '1' then woken[channel] = true end
  end
end

while at <= #ARGV do
  local token = ARGV[at]
  -- The first write frees memory, so a full server lets the others pass.
  local holds = redis.call('HDEL', KEYS[1], token) == 1
  held[#held + 1] = holds and 1 or 0
  tokens[#tokens + 1] = token
  at = at + 1
  if ARGV[at] == '1' then
    if holds then store(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]) end
    at = at + 6
  else
    at = at + 1
  end
  local follow = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, follow do
    local once = ARGV[at + 3]
    if holds and (once == '' or redis.call('SET', once, '1', 'NX', 'EX', 3600)) then
      enqueue(tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2])
    end
    at = at + 4
  end
  local verdict = ARGV[at]
  if verdict == 'R' then
    local number, raw, wait = tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
    if holds and wait > 0 then
      local due = now + wait + 1 -- our clock was rounded down; never early
      delay(KEYS[6], KEYS[7], KEYS[8], KEYS[FIRST + number - 1], raw, due, ARGV[number * 2])
    elseif holds then
      add(front, KEYS[FIRST + number - 1], raw)
      if ARGV[number * 2 + 1] == '1' then woken[ARGV[number * 2]] = true end
    end
    at = at + 4
  elseif verdict == 'D' then
    if holds then
      redis.call('HSET', KEYS[10], ARGV[at + 1], ARGV[at + 2])
      redis.call('ZADD', KEYS[9], died + #held, ARGV[at + 1])
      buried = true
    end
    at = at + 3
  else
    at = at + 1
  end
end

deliver()
spread('ZREM', KEYS[2], tokens)
spread('ZREM', KEYS[3], tokens)
spread('SREM', KEYS[4], tokens)
if buried then expire(KEYS[9], KEYS[10], ARGV[1]) end
return held
