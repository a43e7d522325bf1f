-- Reads values in the order of the keys, as many as fit into a reply, at least one.
-- ARGV: inline (the longest value in a reply), the most bytes of a reply.
-- Returns {value or head, pttl, size} for each key that was read.
local inline, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local rows, bytes = {}, 0
for _, key in ipairs(KEYS) do
  local row = read_value(key, inline)
  bytes = bytes + (row[1] and #row[1] or 0)
  if rows[1] and bytes > limit then
    return rows
  end
  rows[#rows + 1] = row
end
return rows
