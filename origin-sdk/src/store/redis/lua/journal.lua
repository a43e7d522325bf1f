#!lua flags=allow-oom
-- (The line above: a replica refuses the script, so that nobody follows a primary that was demoted; and a full memory
-- does not keep an invalidation out. Needs Redis 7.)
--
-- The journal in Redis: a stream (the feed) and, in the same slot, a sorted set (the ledger).
-- The feed's IDs are the positions. The ledger holds `<mode> <scope>` with the last position as its score, so that
-- a process that starts, or was away for longer than the feed remembers, can still learn all that matters.
-- `remove all` in the ledger is also its floor: rows that are dropped raise it.
local feed, ledger = KEYS[1], KEYS[2]
local max_feed, max_ledger = tonumber(ARGV[1]), tonumber(ARGV[2])

-- A score is a double: 2^53 leaves 43 bits for milliseconds (until the year 2248) and ten for the number within one.
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

local function last_id()
  local last = redis.call('XREVRANGE', feed, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1]
end

-- A stream entry as {id, mode, scope, ...}; {id} if it was trimmed.
local function row_of(entry)
  local row, fields = {entry[1]}, entry[2] or {}
  for i = 2, #fields, 2 do
    row[#row + 1] = fields[i]
  end
  return row
end

-- Positions never repeat, also after a failover that lost the end of the feed or moved the clock back:
-- the new one is the latest of Redis's time, the feed's end and what the caller has seen.
local function next_id(seen)
  local time = redis.call('TIME')
  local ms, seq = time[1] * 1000 + math.floor(time[2] / 1000), 0
  for _, id in ipairs({seen, last_id() or '0-0'}) do
    local id_ms, id_seq = split(id)
    if id_ms > ms or (id_ms == ms and id_seq >= seq) then
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
  -- One row more than needed, since the floor itself may be among the oldest.
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

-- Lua's stack bounds what `unpack` can pass on, so many scopes become several records. Returns the last one's ID.
local MAX_SCOPES = 1000

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

-- Whoever finds no feed creates it with a record that covers everything: nobody can know what was lost.
-- Whoever finds a feed but no ledger (it was evicted) sets the floor at the feed's end, for the same reason.
local function ensure(seen)
  local last = last_id()
  if not last then
    append(seen, 'remove', {'all'})
  elseif not redis.call('ZSCORE', ledger, 'remove all') then
    redis.call('ZADD', ledger, number(score_of(last)), 'remove all')
  end
end
