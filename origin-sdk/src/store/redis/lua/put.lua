-- Stores a value and ends its key's lease.
-- KEYS: key, lease, and the staged value if it was sent in pieces.
-- ARGV: the value, or the size of the staged one; ttl_ms; the caller's token (or '' to store
-- without a lease).
-- Returns 1; 0 if the token no longer holds the lease, or -1 if the staged value is incomplete, and
-- then stores nothing.
local value, ttl, token, staged = ARGV[1], ARGV[2], ARGV[3], KEYS[3]
local holder = redis.call('HGET', lease, 'token')
if token ~= '' and holder ~= token then
  return 0
end
if not staged then
  redis.call('SET', key, value, 'PX', ttl)
elseif redis.call('STRLEN', staged) == tonumber(value) then
  redis.call('RENAME', staged, key)
  redis.call('PEXPIRE', key, ttl)
else
  return -1
end
if holder then
  end_lease('filled')
end
return 1
