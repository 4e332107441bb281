-- Put back a message that a Celery worker held too long, if nobody has touched it since.
-- KEYS 1 unacked 2 unacked_index 3 target list
-- ARGV 1 tag 2 the time it was seen with 3 envelope
-- Returns 1 when it was put back, else 0.
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[3])
return 1
