-- Lease anew what others held; the old tokens are worth nothing from now on.
-- KEYS 1 unacked 2 unacked_index 3 lease 4 started
-- ARGV 1 lease ms 2 token prefix 3 first token number
--      4 how many endings an entry may have (0: any), 5.. those endings, one per queue
--      then pairs: token, the deadline it was seen with ('' for any)
-- Returns per adopted delivery: its token number, its entry, 1 when it had started, its old token.
local now, seconds = clock()
local deadline, number, endings = now + tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local reply = {}

local function mine(entry)
  if endings == 0 then return true end
  for i = 5, 4 + endings do
    if string.sub(entry, -#ARGV[i]) == ARGV[i] then return true end
  end
end

for at = 5 + endings, #ARGV, 2 do
  local token, seen = ARGV[at], ARGV[at + 1]
  local score = redis.call('ZSCORE', KEYS[3], token)
  if score and (seen == '' or tonumber(score) == tonumber(seen)) then
    local entry = redis.call('HGET', KEYS[1], token)
    if not entry then -- settled or restored by a Celery worker
      redis.call('ZREM', KEYS[3], token)
      redis.call('SREM', KEYS[4], token)
    elseif mine(entry) then
      local fresh = ARGV[2] .. number
      local started = redis.call('SREM', KEYS[4], token)
      redis.call('HDEL', KEYS[1], token)
      redis.call('HSET', KEYS[1], fresh, entry)
      redis.call('ZREM', KEYS[3], token)
      redis.call('ZADD', KEYS[3], deadline, fresh)
      if redis.call('ZREM', KEYS[2], token) == 1 then
        redis.call('ZADD', KEYS[2], seconds, fresh)
      end
      if started == 1 then redis.call('SADD', KEYS[4], fresh) end
      reply[#reply + 1] = number
      reply[#reply + 1] = entry
      reply[#reply + 1] = started
      reply[#reply + 1] = token
      number = number + 1
    end
  end
end
return reply
