-- Reads a part of a value, if the value still begins with `head`. The head contains the value's
-- checksum, so parts of two values are never mixed.
-- ARGV: head, offset of the part, its length.
-- Returns the part, or nil if the value has been replaced.
local head, from = ARGV[1], tonumber(ARGV[2])
if redis.call('GETRANGE', KEYS[1], 0, #head - 1) ~= head then
  return false
end
return redis.call('GETRANGE', KEYS[1], from, from + ARGV[3] - 1)
