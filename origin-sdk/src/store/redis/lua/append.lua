-- Appends one record.
-- ARGV: max_feed, max_ledger, seen, mode, since (or ''), number of checked scopes, the checked
-- scopes, the record's scopes.
-- Returns {id, clean}: clean is 0 if a record after `since` has one of the checked scopes.
local seen, mode, since, checked = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
ensure(seen)

local clean = 1
if since ~= '' then
  local since_score = score_of(since)
  clean = is_future(since) and 0 or 1
  for i = 7, 6 + checked do
    for _, any_mode in ipairs({'remove ', 'expire '}) do
      local score = redis.call('ZSCORE', ledger, any_mode .. ARGV[i])
      if score and tonumber(score) > since_score then
        clean = 0
      end
    end
  end
end

local scopes = {}
for i = 7 + checked, #ARGV do
  scopes[#scopes + 1] = ARGV[i]
end
return {append(seen, mode, scopes), clean}
