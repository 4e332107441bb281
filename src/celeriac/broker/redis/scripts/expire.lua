-- Delete dead letters past their time.
-- KEYS 1 dead 2 dead:m   ARGV 1 milliseconds that they are kept
-- Returns how many.
return expire(KEYS[1], KEYS[2], ARGV[1])
