-- Ends the script with an error unless this server is certainly still the primary. Runs before a
-- script that only reads, on a server that refuses writes with MISCONF: Redis checks its disk
-- first, and hides that it is a replica, or that it lacks replicas and may have a successor.
local replication = redis.call('INFO', 'replication')
if not string.find(replication, 'role:master', 1, true) then
  return redis.error_reply('READONLY expected a primary, and this server is a replica that cannot save')
end
if string.find(replication, 'min_slaves_good_slaves:', 1, true) then
  return redis.error_reply('NOREPLICAS expected a primary without min-replicas-to-write, as this one cannot save')
end
