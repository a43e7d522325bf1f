-- Functions that the shipping scripts share. Runs after journal.lua.
local function named(fields)
  local by_name = {}
  for i = 1, #fields, 2 do
    by_name[fields[i]] = fields[i + 1]
  end
  return by_name
end

local function group_info(group)
  for _, fields in ipairs(redis.call('XINFO', 'GROUPS', feed)) do
    local info = named(fields)
    if info.name == group then
      return info
    end
  end
end

-- Returns how many records have not been delivered to the group yet. Redis reports no lag if
-- entries were deleted individually; then returns the feed's length, an upper bound.
local function behind(group)
  local info = group_info(group)
  return info and (info.lag or redis.call('XLEN', feed)) or 0
end
