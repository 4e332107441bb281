-- Count leased messages by queue.
-- KEYS 1 unacked 2 lease   ARGV the ending of each queue's entries
-- Returns a number for each queue.
local counts, length = {}, {}
for i = 1, #ARGV do
  counts[i], length[i] = 0, #ARGV[i]
end
for _, token in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local entry = redis.call('HGET', KEYS[1], token)
  for i = 1, #ARGV do
    if entry and string.sub(entry, -length[i]) == ARGV[i] then counts[i] = counts[i] + 1 end
  end
end
return counts
