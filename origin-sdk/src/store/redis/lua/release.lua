-- Releases a lease without storing a value, if the token still holds it.
-- KEYS: key, lease.
-- ARGV: token, outcome.
if redis.call('HGET', lease, 'token') == ARGV[1] then
  end_lease(ARGV[2])
end
