-- Publishes the figures of one process, and removes the names of processes whose reports have
-- expired. Processes may keep their reports for different times.
local processes, report = KEYS[1], KEYS[2]
local process, figures, ttl_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', report, figures, 'PX', ttl_ms)
redis.call('ZADD', processes, now_ms + ttl_ms, process)
redis.call('ZREMRANGEBYSCORE', processes, '-inf', now_ms)
if redis.call('PTTL', processes) < ttl_ms then
  redis.call('PEXPIRE', processes, ttl_ms)
end
return 1
