-- What came after a cursor. ARGV: max_feed, max_ledger, cursor, limit, records that the caller has appended itself and
-- was not told of yet.
-- Returns {position, more, gap, rows}; a row is {id, mode, scope, ...}. With gap = 1 the ledger tells what came instead.
local cursor, limit = ARGV[3], tonumber(ARGV[4])
ensure(cursor)

local function rows_after()
  local rows = {}
  for _, entry in ipairs(redis.call('XRANGE', feed, '(' .. cursor, '+', 'COUNT', limit)) do
    rows[#rows + 1] = row_of(entry)
  end
  return rows
end

local function is_there(id)
  return #redis.call('XRANGE', feed, id, id) == 1
end

-- What was in a lost end of the feed nobody can know.
local function append_all(seen)
  local id = append(seen, 'remove', {'all'})
  return {id, 0, 0, {{id, 'remove', 'all'}}}
end

-- A record of the caller's own is ahead of what it applied last, so a failover can have lost it alone.
local seen, is_lost = cursor, false
for i = 5, #ARGV do
  seen = is_after(ARGV[i], seen) and ARGV[i] or seen
  is_lost = is_lost or not is_there(ARGV[i])
end
if is_lost then
  return append_all(seen)
end

-- The record applied last must still be there. Comparing only the ends would miss a feed that lost its end in a
-- failover and has grown again since.
if is_there(cursor) then
  local rows = rows_after()
  local position = #rows > 0 and rows[#rows][1] or cursor
  return {position, #rows == limit and 1 or 0, 0, rows}
end

local first = redis.call('XRANGE', feed, '-', '+', 'COUNT', 1)[1][1]
if cursor ~= '0-0' and not is_after(first, cursor) then
  -- Not trimmed but lost.
  return append_all(cursor)
end
return {last_id(), 0, 1, {}}
