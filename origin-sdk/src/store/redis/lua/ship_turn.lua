-- Acquires, renews or releases the lease on a target.
-- KEYS[3]: the lease; KEYS[4]: the status.
-- ARGV: max_feed, max_ledger, target, token, ttl_ms (0 releases the lease).
-- Returns the remaining milliseconds of another process's lease; 0 if no other process holds it.
local lease, status, target, token, ms = KEYS[3], KEYS[4], ARGV[3], ARGV[4], tonumber(ARGV[5])
local holder = redis.call('GET', lease)
if holder and holder ~= token then
  return math.max(1, redis.call('PTTL', lease))
elseif ms > 0 then
  redis.call('SET', lease, token, 'PX', ms)
  redis.call('HSET', status, target .. ' shipper', token)
else
  redis.call('DEL', lease)
end
return 0
