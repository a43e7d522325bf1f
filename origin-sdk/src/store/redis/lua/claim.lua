-- Acquires the lease on a key unless another caller holds it, and reads the key in the same step,
-- so that a claim after the fill finds the value. Runs even when Redis's memory is full.
-- KEYS: key, lease.
-- ARGV: token, position, ttl_ms, the token of a holder that may be replaced (or ''), the channel on
-- which to notify the caller (or ''), the longest value in the reply.
-- Returns {{value or head, pttl, size}, holder, its position, its pttl}. Without a holder, the
-- lease is now the caller's.
local key, lease = KEYS[1], KEYS[2]
local token, position, ttl, replaced, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local value = read_value(key, tonumber(ARGV[6]))
local holder = redis.call('HGET', lease, 'token')
if holder and holder ~= replaced then
  if channel ~= '' then
    redis.call('HSET', lease, 'wake ' .. channel, '')
  end
  return {value, holder, redis.call('HGET', lease, 'at'), redis.call('PTTL', lease)}
end
redis.call('HSET', lease, 'token', token, 'at', position)
redis.call('PEXPIRE', lease, ttl)
return {value, false, false, 0}
