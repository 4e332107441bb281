-- Store results, as `store` in result.lua does.
-- KEYS 1.. the result keys
-- ARGV per key: payload, ttl, won, mark
-- Returns the number of keys.
for i = 1, #KEYS do
  local at = i * 4
  store(KEYS[i], ARGV[at - 3], ARGV[at - 2], ARGV[at - 1], ARGV[at])
end
return #KEYS
