-- Part of other scripts: time and long argument lists.

-- Lua can spread only some thousand values over one call; even, so that pairs stay together.
local CHUNK = 1000

-- The server's clock: milliseconds, and whole seconds.
local function clock()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000), now[1]
end

local function spread(command, key, values)
  for i = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, #values)))
  end
end
