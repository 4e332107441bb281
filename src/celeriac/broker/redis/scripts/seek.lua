-- Look for a message whose sender does not know whether it arrived.
-- KEYS 1 its list 2 unacked 3 unacked_index 4 claim 5 its result
-- ARGV 1 the envelope
-- Returns 1 when it was found, else 0: then it was never here, or is done already.
local LEASES = 10000
local raw = ARGV[1]
if redis.call('LPOS', KEYS[1], raw) then return 1 end
if redis.call('EXISTS', KEYS[5]) == 1 then return 1 end
for _, member in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  if redis.call('LPOS', KEYS[4] .. ':' .. member, raw) then return 1 end
end
for _, token in ipairs(redis.call('ZREVRANGE', KEYS[3], 0, LEASES - 1)) do
  local entry = redis.call('HGET', KEYS[2], token)
  if entry and string.find(entry, raw, 1, true) then return 1 end
end
return 0
