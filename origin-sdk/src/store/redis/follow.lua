-- What came after a cursor. ARGV: max_feed, max_ledger, cursor, limit.
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

-- The record applied last must still be there. Comparing only the ends would miss a feed that lost its end in a
-- failover and has grown again since.
if #redis.call('XRANGE', feed, cursor, cursor) == 1 then
  local rows = rows_after()
  local position = #rows > 0 and rows[#rows][1] or cursor
  return {position, #rows == limit and 1 or 0, 0, rows}
end

local first = redis.call('XRANGE', feed, '-', '+', 'COUNT', 1)[1][1]
if cursor ~= '0-0' and not is_after(first, cursor) then
  -- Not trimmed but lost: what was in the lost end nobody can know.
  local id = append(cursor, 'remove', {'all'})
  return {id, 0, 0, {{id, 'remove', 'all'}}}
end
return {last_id(), 0, 1, {}}
