-- Returns a page of the ledger in ascending order of score.
-- ARGV: max_feed, max_ledger, the first score, limit.
-- Returns {next, rows}: the first score of the next page, or '' after the last page. A row that is
-- updated between pages moves to a higher score, so it is not missed. Rows with the last score of a
-- page are returned again in the next page.
local from, limit = ARGV[3], tonumber(ARGV[4])
local page = redis.call('ZRANGE', ledger, from, number(max_score), 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local rows = {}
for i = 1, #page, 2 do
  local mode, scope = string.match(page[i], '^(%l+) (.*)$')
  rows[#rows + 1] = {id_of(tonumber(page[i + 1])), mode, scope}
end
return {#rows == limit and number(tonumber(page[#page])) or '', rows}
