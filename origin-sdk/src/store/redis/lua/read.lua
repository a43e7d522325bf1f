-- Reads a value, or the head of a large one.
-- ARGV: inline (the longest value in a reply).
-- Returns {value or head, pttl, size}.
return read_value(KEYS[1], tonumber(ARGV[1]))
