-- Records what a target has confirmed.
-- KEYS[3]: the lease; KEYS[4]: the status.
-- ARGV: max_feed, max_ledger, target, group, token, the records' IDs.
-- Returns 0, and records nothing, if the token does not hold the lease.
local status, target, group, token = KEYS[4], ARGV[3], ARGV[4], ARGV[5]
if redis.call('GET', KEYS[3]) ~= token then
  return 0
end
for i = 6, #ARGV do
  redis.call('XACK', feed, group, ARGV[i])
end
redis.call('HSET', status, target .. ' confirmed', ARGV[#ARGV], target .. ' confirmed_at', number(now_ms()), target .. ' failures', 0)
return 1
