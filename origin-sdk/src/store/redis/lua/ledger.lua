-- A page of the ledger by ascending score. ARGV: max_feed, max_ledger, score to begin at, limit.
-- Returns {next, rows}: the score that the next page begins at, or '' after the last page. A row that is written while
-- pages are read moves up, so it is not missed. Rows of the score that ends a page are read again with the next one.
local from, limit = ARGV[3], tonumber(ARGV[4])
local page = redis.call('ZRANGE', ledger, from, '+inf', 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local rows = {}
for i = 1, #page, 2 do
  local mode, scope = string.match(page[i], '^(%l+) (.*)$')
  rows[#rows + 1] = {id_of(tonumber(page[i + 1])), mode, scope}
end
return {#rows == limit and number(tonumber(page[#page])) or '', rows}
