#!lua flags=allow-oom
-- Renews a lease.
-- KEYS: lease.
-- ARGV: token, ttl_ms.
-- Returns 0 if the token no longer holds it.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
