-- Returns the first records that a target has not confirmed.
-- KEYS[3]: the lease.
-- ARGV: max_feed, max_ledger, group, token, limit.
-- Returns {held, rows, behind, now_ms}; held is 0 if the token does not hold the lease.
local group, token, limit = ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('GET', KEYS[3]) ~= token then
  return {0, {}, 0, 0}
end
ensure('0-0')

-- Returns whether records were trimmed before the target received them; it is sent `remove all`
-- instead. Creates a missing group at the feed's start: shipping a record twice is harmless,
-- omitting one is not.
local function has_missed_records(info)
  if not info then
    redis.call('XGROUP', 'CREATE', feed, group, '0')
    local stream = named(redis.call('XINFO', 'STREAM', feed))
    return stream['entries-added'] > stream['length']
  end
  local last = info['last-delivered-id']
  return last ~= '0-0' and is_after(redis.call('XRANGE', feed, '-', '+', 'COUNT', 1)[1][1], last)
end

-- Every holder of the lease reads as the same consumer, so a new holder also gets the records that
-- a dead one took and did not confirm.
local function read(from, count)
  local reply =
    redis.call('XREADGROUP', 'GROUP', group, 'shipper', 'COUNT', count, 'STREAMS', feed, from)
  return reply and reply[1][2] or {}
end

local function pending(after, count)
  return read(after or '0', count)
end

-- A record beyond the reply's bounds is then pending, and comes first in the next reply.
local function undelivered(_, count)
  return read('>', count)
end

local info = group_info(group)
local rows = info and bounded_rows(limit, pending)[1] or {}
if #rows == 0 then
  if has_missed_records(info) then
    append('0-0', 'remove', {'all'})
  end
  rows = bounded_rows(limit, undelivered)[1]
end

return {1, rows, behind(group), now_ms()}
