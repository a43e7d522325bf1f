-- Stores a value and ends its key's lease.
-- KEYS: key, lease.
-- ARGV: value, ttl_ms, the caller's token (or '' to store without a lease).
-- Returns 0, and stores nothing, if the token no longer holds the lease.
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
