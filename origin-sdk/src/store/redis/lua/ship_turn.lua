-- Takes, renews or gives back the lease of a target's shipper. KEYS[3]: the lease; KEYS[4]: the status.
-- ARGV: max_feed, max_ledger, target, token, milliseconds (0 gives it back).
-- Returns the milliseconds that another's lease lasts; 0 if there is no other.
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
