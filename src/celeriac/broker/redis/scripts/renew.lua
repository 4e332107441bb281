-- Keep an owner and some of its leases alive.
-- KEYS 1 unacked 2 unacked_index 3 lease 4 alive
-- ARGV 1 owner 2 lease ms 3.. tokens
-- Returns the tokens that are no longer held.
local now, seconds = clock()
local deadline, leases, index, lost = now + tonumber(ARGV[2]), {}, {}, {}
redis.call('ZADD', KEYS[4], now, ARGV[1])
for i = 3, #ARGV do
  local token = ARGV[i]
  if redis.call('HEXISTS', KEYS[1], token) == 1 then
    leases[#leases + 1] = deadline
    leases[#leases + 1] = token
    -- A fresh index keeps Celery workers from restoring it; what has started is not in it.
    index[#index + 1] = seconds
    index[#index + 1] = token
  else
    lost[#lost + 1] = token
  end
end
for i = 1, #leases, CHUNK do
  local last = math.min(i + CHUNK - 1, #leases)
  redis.call('ZADD', KEYS[3], unpack(leases, i, last))
  redis.call('ZADD', KEYS[2], 'XX', unpack(index, i, last))
end
spread('ZREM', KEYS[3], lost)
return lost
