-- Records a failed attempt to ship.
-- KEYS[4]: the status.
-- ARGV: max_feed, max_ledger, target, group, why. Returns how many records have not been delivered
-- to the group yet.
local status, target, group, why = KEYS[4], ARGV[3], ARGV[4], ARGV[5]
redis.call('HSET', status, target .. ' error', why, target .. ' error_at', number(now_ms()))
redis.call('HINCRBY', status, target .. ' failures', 1)
-- The feed may have been lost in the meantime.
return redis.call('EXISTS', feed) == 1 and behind(group) or 0
