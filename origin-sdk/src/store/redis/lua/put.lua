-- Sets a key and ends its lease. KEYS: key, lease. ARGV: value, ttl_ms, the caller's token (or '' if it needs no lease).
-- Returns 0, and has done nothing, if the token's lease is not held any more.
local value, ttl, token = ARGV[1], ARGV[2], ARGV[3]
local holder = redis.call('HGET', lease, 'token')
if token ~= '' and holder ~= token then
  return 0
end
redis.call('SET', key, value, 'PX', ttl)
if holder then
  end_lease('filled')
end
return 1
