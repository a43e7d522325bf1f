-- Records the highest version of a key's value.
-- KEYS: the version.
-- ARGV: version (20 digits), ttl_ms.
-- Returns 1 if a version was known and was not newer. Numbers of equal length compare as strings.
local known = redis.call('GET', KEYS[1])
if known and known > ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return known and 1 or 0
