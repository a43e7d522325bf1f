-- Returns the records after a cursor.
-- ARGV: max_feed, max_ledger, cursor, limit, the IDs of the caller's own records that it has not
-- followed yet.
-- Returns {position, more, gap, rows}; a row is {id, mode, scope, ...}. With gap = 1, rows is empty
-- and the caller must read the ledger instead. A position before the cursor means that the cursor
-- was from the future; the caller goes back to the position.
local cursor, limit = ARGV[3], tonumber(ARGV[4])
local last = ensure(cursor)
if is_future(cursor) then
  cursor = '0-0'
end

local function exists(id)
  return #redis.call('XRANGE', feed, id, id) == 1
end

-- Appends a record that covers everything, because the lost records are unknown.
local function append_all(seen)
  local id = append(seen, 'remove', {'all'})
  return {id, 0, 0, {{id, 'remove', 'all'}}}
end

-- The caller's own records can be newer than its cursor, so a failover can lose them and not the
-- cursor.
local seen, is_lost = cursor, false
for i = 5, #ARGV do
  seen = is_after(ARGV[i], seen) and not is_future(ARGV[i]) and ARGV[i] or seen
  is_lost = is_lost or not exists(ARGV[i])
end
if is_lost then
  return append_all(seen)
end

if last == cursor then
  return {cursor, 0, 0, {}}
end

-- The record at the cursor must still exist. A comparison with the feed's last ID would miss a feed
-- that lost its end in a failover and has grown again since.
local first_rows = redis.call('XRANGE', feed, cursor, '+', 'COUNT', math.min(READ_AT_ONCE, limit) + 1)
if first_rows[1] and first_rows[1][1] == cursor then
  table.remove(first_rows, 1)
  local function rows_after(after, count)
    return after and redis.call('XRANGE', feed, '(' .. after, '+', 'COUNT', count) or first_rows
  end
  local rows, more = unpack(bounded_rows(limit, rows_after))
  local position = #rows > 0 and rows[#rows][1] or cursor
  return {position, more, 0, rows}
end

local first = redis.call('XRANGE', feed, '-', '+', 'COUNT', 1)[1][1]
if cursor ~= '0-0' and not is_after(first, cursor) then
  -- Trimming removes records from the start only, so this record was lost.
  return append_all(cursor)
end
return {last, 0, 1, {}}
