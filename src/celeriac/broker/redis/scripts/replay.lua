-- Move a dead letter back to its queue, if it is still the one the caller has read.
-- KEYS 1 dead 2 dead:m 3 target list   ARGV 1 id 2 its record 3 envelope 4 wake channel or ''
-- Returns 1 when it was moved, else 0.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[4], '') end
return 1
