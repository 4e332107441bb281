-- Part of other scripts: put messages on lists and into the delayed set.

local back, front, woken = {}, {}, {}

local function add(lists, list, raw)
  local raws = lists[list]
  if raws then
    raws[#raws + 1] = raw
  else
    lists[list] = { raw }
  end
end

-- Whether a worker of ours has given a sign of life in the last minute, and would promote what is
-- due.  Without one nobody would: a Celery worker takes the message and holds it itself.
local function promoted(alive, now)
  return redis.call('ZCOUNT', alive, now - 60000, '+inf') > 0
end

-- Scripts have no rollback: find out before the first write whether all lists can take messages.
local function refusal(from)
  for i = from, #KEYS do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'list' and kind ~= 'none' then
      return redis.error_reply('WRONGTYPE the queue ' .. KEYS[i] .. ' is a ' .. kind)
    end
  end
end

-- Hold a message back until `due` (ms).  The set's members carry the list, the hash the message.
local function delay(eta, messages, count, list, raw, due, channel)
  local member = redis.sha1hex(raw) .. ':' .. list
  local first = redis.call('ZRANGE', eta, 0, 0, 'WITHSCORES')[2]
  if redis.call('ZADD', eta, due, member) == 1 then redis.call('HINCRBY', count, list, 1) end
  redis.call('HSET', messages, member, raw)
  if not first or tonumber(due) < tonumber(first) then woken[channel] = true end
end

-- Move what was collected: new messages to the back, returned ones to the front in their order.
local function deliver()
  for list, raws in pairs(back) do spread('LPUSH', list, raws) end
  for list, raws in pairs(front) do
    local turned = {}
    for i = #raws, 1, -1 do turned[#turned + 1] = raws[i] end
    spread('RPUSH', list, turned)
  end
  -- A user without the right to these channels still gets the messages sent.
  for channel in pairs(woken) do redis.pcall('PUBLISH', channel, '') end
end
