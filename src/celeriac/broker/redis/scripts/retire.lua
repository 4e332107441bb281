-- Forget an owner, and put back what was on its way to it.
-- KEYS 1 owner 2 alive 3 claim
-- ARGV 1 owner, or '' for all owners that nobody knows any more 2 key prefix
--      3 the sign of life it was seen with ('' for any)
-- Returns how many messages were put back, or -1 when the owner has shown another sign of life.
local KEEP = 60 -- seconds; longer than a server goes on serving a client that has vanished
local _, seconds = clock()
local moved = 0
if ARGV[1] ~= '' then
  if ARGV[3] ~= '' then
    local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
    if not score or tonumber(score) ~= tonumber(ARGV[3]) then return -1 end
  end
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
local members = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local member = members[i]
  local owner, queue = string.match(member, '^([^:]*):(.*)$')
  local gone = owner == ARGV[1]
  if ARGV[1] == '' then
    gone = redis.call('HEXISTS', KEYS[1], owner) == 0 and not redis.call('ZSCORE', KEYS[2], owner)
  end
  if gone then
    local list = KEYS[3] .. ':' .. member
    local raws = redis.call('LRANGE', list, 0, -1)
    if #raws > 0 then
      spread('RPUSH', ARGV[2] .. queue, raws)
      redis.call('DEL', list)
      moved = moved + #raws
    end
    if ARGV[1] ~= '' then
      redis.call('ZADD', KEYS[3], seconds, member)
    elseif seconds - members[i + 1] > KEEP then
      redis.call('ZREM', KEYS[3], member)
    end
  end
end
return moved
