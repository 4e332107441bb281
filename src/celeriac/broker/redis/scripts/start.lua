-- Note that deliveries have begun to run and must not begin again.
-- KEYS 1 unacked 2 unacked_index 3 started   ARGV the tokens
-- Returns for each 1 where the lease held, else 0.
local held = {}
for i = 1, #ARGV do
  held[i] = redis.call('HEXISTS', KEYS[1], ARGV[i])
  if held[i] == 1 then
    redis.call('SADD', KEYS[3], ARGV[i])
    -- Out of the index: a Celery worker would restore it and run it again.
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
return held
