-- Ends a lease and notifies its waiters of the outcome. A lease is a hash: `token` (its holder),
-- `at` (the journal position that the holder had applied), and a field `wake CHANNEL` for every
-- process that waits for its end.
local key, lease = KEYS[1], KEYS[2]

local function end_lease(outcome)
  for _, field in ipairs(redis.call('HKEYS', lease)) do
    local channel = string.match(field, '^wake (.+)$')
    if channel then
      redis.call('PUBLISH', channel, outcome .. ' ' .. key)
    end
  end
  redis.call('DEL', lease)
end
