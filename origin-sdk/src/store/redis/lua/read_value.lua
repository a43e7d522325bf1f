-- Functions that the scripts which read values share. A value longer than `inline` is represented
-- by its first bytes: the client then fetches it in pieces over another connection, so that no
-- reply delays the replies behind it.
local HEAD_BYTES = 128

-- Returns {value or head, pttl, size}. A key of another type, or without a byte, counts as missing.
local function read_value(key, inline)
  local size = redis.pcall('STRLEN', key)
  if type(size) ~= 'number' or size == 0 then
    return {false, -2, 0}
  end
  local value
  if size <= inline then
    value = redis.call('GET', key)
  else
    value = redis.call('GETRANGE', key, 0, HEAD_BYTES - 1)
  end
  return {value, redis.call('PTTL', key), size}
end
