-- Part of other scripts: dead letters.  Their scores are microseconds, so that they keep their order.

local function moment()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- Delete the letters that died more than `kept` milliseconds ago; return how many.
local function expire(dead, messages, kept)
  local past = moment() - kept * 1000
  local old = redis.call('ZRANGEBYSCORE', dead, '-inf', past, 'LIMIT', 0, 1000)
  spread('HDEL', messages, old)
  spread('ZREM', dead, old)
  return #old
end
