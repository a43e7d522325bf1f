-- Publishes the figures of one process, and removes the names of processes that have ended.
local processes, report = KEYS[1], KEYS[2]
local process, figures, ttl_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', report, figures, 'PX', ttl_ms)
redis.call('ZADD', processes, now_ms, process)
redis.call('ZREMRANGEBYSCORE', processes, '-inf', now_ms - ttl_ms)
redis.call('PEXPIRE', processes, ttl_ms)
return 1
