#!lua flags=allow-oom
-- Prolongs a lease. KEYS: lease. ARGV: token, ttl_ms. Returns 0 if it is not held any more.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
