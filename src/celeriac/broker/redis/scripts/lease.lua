-- Lease messages; move those that are due to their lists first.
-- KEYS 1 unacked 2 unacked_index 3 lease 4 eta 5 eta:m 6 eta:n 7 malformed 8 claim
--      9.. the lists to take from, best first: the owner's claim lists, then the queues
-- ARGV 1 how many 2 lease ms 3 token prefix 4 first token number 5 how many to promote
--      6 how many claim lists, then for each its member of `claim`, '' when it is not waited on
--      then per list: what follows the message in its entry of unacked
-- Returns: ms until the next message is due or -1, then alternating: number of a list, its messages.
local BYTES = 4194304
local now, seconds = clock()

local function promote(limit)
  local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, limit)
  -- From the latest to the earliest, each to the front: the earliest is served first.
  for i = #due, 1, -1 do
    local member = due[i]
    local list, raw = string.sub(member, 42), redis.call('HGET', KEYS[5], member)
    if raw then
      local pushed = redis.pcall('RPUSH', list, raw)
      if type(pushed) == 'table' then
        if not string.find(pushed.err, 'WRONGTYPE', 1, true) then return end
        redis.call('LPUSH', KEYS[7], raw)
      end
      redis.call('HDEL', KEYS[5], member)
    end
    redis.call('ZREM', KEYS[4], member)
    if redis.call('HINCRBY', KEYS[6], list, -1) <= 0 then redis.call('HDEL', KEYS[6], list) end
  end
end

-- Scripts have no rollback: fail now, not between taking messages and noting them.
redis.call('HLEN', KEYS[1])
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])

local left, deadline = tonumber(ARGV[1]), now + tonumber(ARGV[2])
local prefix, number, claims = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
promote(ARGV[5])

local entries, index, leases, reply, bytes, wrong = {}, {}, {}, { -1 }, 0, nil

local function take(list)
  if left <= 0 or bytes >= BYTES then return nil end
  local raws = redis.pcall('RPOP', list, math.min(left, 64))
  if not raws then return nil end
  if raws.err then -- not a list; the others are served all the same
    wrong = raws
    return nil
  end
  return raws
end

for i = 9, #KEYS do
  local raws = take(KEYS[i])
  while raws do
    local suffix = ARGV[i - 2 + claims]
    for j = 1, #raws do
      local raw, token = raws[j], prefix .. number
      number = number + 1
      bytes = bytes + #raw
      entries[#entries + 1] = token
      if string.byte(raw, 1) == 123 and string.byte(raw, -1) == 125 then
        entries[#entries + 1] = '[' .. raw .. suffix
        index[#index + 1] = seconds
        index[#index + 1] = token
      else
        -- Not an object: without a place in the index no Celery worker tries to read it.
        entries[#entries + 1] = '!' .. raw .. suffix
      end
      leases[#leases + 1] = deadline
      leases[#leases + 1] = token
    end
    reply[#reply + 1] = i - 8
    reply[#reply + 1] = raws
    left = left - #raws
    raws = #raws == 64 and take(KEYS[i])
  end
end
spread('HSET', KEYS[1], entries)
spread('ZADD', KEYS[2], index)
spread('ZADD', KEYS[3], leases)

if #entries == 0 then
  if wrong then return wrong end
  -- The caller is about to wait on these lists: survivors must know where to look.
  for i = 7, 6 + claims do
    if ARGV[i] ~= '' then redis.pcall('ZADD', KEYS[8], seconds, ARGV[i]) end
  end
end
local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
if first then reply[1] = math.max(0, first - now) end
return reply
