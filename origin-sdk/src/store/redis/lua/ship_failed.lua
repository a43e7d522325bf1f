-- Notes that a target could not be told. KEYS[4]: the status. ARGV: max_feed, max_ledger, target, group, why.
-- Returns how many records come after those that wait.
local status, target, group, why = KEYS[4], ARGV[3], ARGV[4], ARGV[5]
redis.call('HSET', status, target .. ' error', why, target .. ' error_at', number(now_ms()))
redis.call('HINCRBY', status, target .. ' failures', 1)
-- The journal may have been lost meanwhile.
return redis.call('EXISTS', feed) == 1 and behind(group) or 0
