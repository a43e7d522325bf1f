-- Removes a value and ends its key's lease.
-- KEYS: key, lease.
-- ARGV: the caller's token (or '' to remove without a lease), outcome.
-- Returns 0, and removes nothing, if the token no longer holds the lease.
local token, outcome = ARGV[1], ARGV[2]
local holder = redis.call('HGET', lease, 'token')
if token ~= '' and holder ~= token then
  return 0
end
redis.call('DEL', key)
if holder then
  end_lease(outcome)
end
return 1
