#!lua flags=allow-oom
-- The line above needs Redis 7. It makes a replica refuse the script, so that no process follows a
-- demoted primary, and it permits invalidations when memory is full.
--
-- The journal in Redis: a stream (the feed) and, in the same slot, a sorted set (the ledger). The
-- feed's IDs are the positions. The ledger stores `<mode> <scope>` with the last position as its
-- score, so that a process that starts, or is further behind than the feed reaches, can still catch
-- up. `remove all` in the ledger is also its floor: dropping a row raises the floor to that row's
-- score.
local feed, ledger = KEYS[1], KEYS[2]
local max_feed, max_ledger = tonumber(ARGV[1]), tonumber(ARGV[2])

-- A score is a double, exact up to 2^53: 43 bits for the milliseconds (until the year 2248) and 10
-- bits for the sequence number within a millisecond.
local PER_MS = 1024

local function split(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function score_of(id)
  local ms, seq = split(id)
  return ms * PER_MS + math.min(seq, PER_MS - 1)
end

local function number(n)
  return string.format('%.0f', n)
end

local function id_of(score)
  return number(math.floor(score / PER_MS)) .. '-' .. number(score % PER_MS)
end

local function is_after(a, b)
  local a_ms, a_seq = split(a)
  local b_ms, b_seq = split(b)
  return a_ms > b_ms or (a_ms == b_ms and a_seq > b_seq)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The last millisecond of a position that a correct writer can have appended. Redis's clock may
-- have been ahead before, but not by more than a day.
local max_ms = now_ms() + 24 * 60 * 60 * 1000
local max_score = max_ms * PER_MS

local function is_future(id)
  return split(id) > max_ms
end

local function last_id()
  local last = redis.call('XREVRANGE', feed, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1]
end

-- Returns a stream entry as {id, mode, scope, ...}; {id} if it was trimmed.
local function row_of(entry)
  local row, fields = {entry[1]}, entry[2] or {}
  for i = 2, #fields, 2 do
    row[#row + 1] = fields[i]
  end
  return row
end

-- The bounds of a reply's records, so that Redis serves it in milliseconds, and a client receives
-- it within its timeout, whatever the records' size.
local MAX_REPLY_SCOPES, MAX_REPLY_BYTES = 4000, 256 * 1024
local READ_AT_ONCE = 16

-- Returns {rows, more}: the first rows that `read(after, count)` yields, at least one if there is
-- one, at most `limit`. `more` is 1 if there may be rows after them. `after` is the ID of the last
-- row, or nil.
local function bounded_rows(limit, read)
  local rows, scopes, bytes = {}, 0, 0
  while #rows < limit do
    local count = math.min(READ_AT_ONCE, limit - #rows)
    local entries = read(rows[1] and rows[#rows][1], count)
    for _, entry in ipairs(entries) do
      local row = row_of(entry)
      scopes = scopes + #row
      for _, text in ipairs(row) do
        bytes = bytes + #text
      end
      if rows[1] and (scopes > MAX_REPLY_SCOPES or bytes > MAX_REPLY_BYTES) then
        return {rows, 1}
      end
      rows[#rows + 1] = row
    end
    if #entries < count then
      return {rows, 0}
    end
  end
  return {rows, 1}
end

-- Returns the ID of a new record: the latest of Redis's time, the ID after the feed's last and the
-- ID after `seen`. So positions never repeat, even after a failover that lost the end of the feed
-- or set the clock back. A `seen` from the future counts as none.
local function next_id(seen)
  local ms, seq = now_ms(), 0
  for _, id in ipairs({seen, last_id() or '0-0'}) do
    local id_ms, id_seq = split(id)
    if not is_future(id) and (id_ms > ms or (id_ms == ms and id_seq >= seq)) then
      ms, seq = id_ms, id_seq + 1
    end
  end
  if seq >= PER_MS then
    ms, seq = ms + 1, 0
  end
  return number(ms) .. '-' .. number(seq)
end

local function trim_ledger()
  local surplus = redis.call('ZCARD', ledger) - max_ledger
  if surplus <= 0 then
    return
  end
  -- Read one row more than the surplus, since the floor itself may be among the oldest.
  local rows = redis.call('ZRANGE', ledger, 0, surplus, 'WITHSCORES')
  local floor = 0
  for i = 1, #rows, 2 do
    if rows[i] ~= 'remove all' then
      redis.call('ZREM', ledger, rows[i])
      floor = math.max(floor, tonumber(rows[i + 1]))
    end
  end
  redis.call('ZADD', ledger, 'GT', number(floor), 'remove all')
end

-- Lua's stack limits the arguments of `unpack`, so many scopes become several records.
local MAX_SCOPES = 1000

-- Appends records to the feed and the ledger. Returns the ID of the last one.
local function append(seen, mode, scopes)
  local id
  for first = 1, #scopes, MAX_SCOPES do
    id = next_id(seen)
    local fields = {'mode', mode}
    for i = first, math.min(first + MAX_SCOPES - 1, #scopes) do
      fields[#fields + 1] = 'scope'
      fields[#fields + 1] = scopes[i]
      redis.call('ZADD', ledger, 'GT', number(score_of(id)), mode .. ' ' .. scopes[i])
    end
    redis.call('XADD', feed, 'MAXLEN', '~', max_feed, id, unpack(fields))
  end
  trim_ledger()
  return id
end

-- Deletes records and rows from the future: after them no record could be appended, and what they
-- were appended for is unknown. Returns whether there were any.
local function drop_future(last)
  -- Counted first: a script that must not write may run this.
  local rows = redis.call('ZCOUNT', ledger, '(' .. number(max_score), '+inf')
  if rows > 0 then
    redis.call('ZREMRANGEBYSCORE', ledger, '(' .. number(max_score), '+inf')
  end
  local is_dropped = last and is_future(last)
  if is_dropped then
    redis.call('DEL', feed)
  end
  return is_dropped or rows > 0
end

-- Creates a missing feed with a record that covers everything, because the lost records are
-- unknown. Does the same for a journal with positions from the future. Recreates a missing ledger
-- (Redis may evict it) with its floor at the feed's end, for the same reason. Returns the ID of the
-- feed's last record.
local function ensure(seen)
  local last = last_id()
  if drop_future(last) or not last then
    return append(seen, 'remove', {'all'})
  elseif not redis.call('ZSCORE', ledger, 'remove all') then
    redis.call('ZADD', ledger, number(score_of(last)), 'remove all')
  end
  return last
end
