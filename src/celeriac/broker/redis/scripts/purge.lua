-- Remove the ready messages of a queue, and those delayed ones that the caller has found.
-- KEYS 1 eta 2 eta:m 3 eta:n 4.. the lists of the queue   ARGV the members of eta
-- Returns how many were removed.
local removed = 0
for i = 4, #KEYS do
  removed = removed + redis.call('LLEN', KEYS[i])
  redis.call('DEL', KEYS[i])
end
for i = 1, #ARGV do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('HDEL', KEYS[2], ARGV[i])
    local list = string.sub(ARGV[i], 42)
    if redis.call('HINCRBY', KEYS[3], list, -1) <= 0 then redis.call('HDEL', KEYS[3], list) end
    removed = removed + 1
  end
end
return removed
