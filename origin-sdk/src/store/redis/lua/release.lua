-- Ends a lease without a value. KEYS: key, lease. ARGV: token, outcome.
if redis.call('HGET', lease, 'token') == ARGV[1] then
  end_lease(ARGV[2])
end
