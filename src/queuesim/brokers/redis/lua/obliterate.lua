-- Remove a paused queue, so many jobs at a time. KEYS: the queue's base. ARGV: "1" to force, how many jobs at once.
-- Returns -1: it is not paused, -2: jobs are active, 1: there is more, 0: it is gone.
-- include: queue, paging

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
call("LLEN", q.paused)
if not q.is_paused then return -1 end
if ARGV[1] ~= "1" and call("LLEN", q.active) > 0 then return -2 end
local left = tonumber(ARGV[2])
for _, state in ipairs({
  "active", "waiting", "paused", "prioritized", "delayed", "completed", "failed", "waiting-children",
}) do
  local removed = sweep(q, state, 0, "", left, function() return false end)
  for _, id in ipairs(removed) do write("DEL", q.base .. id .. ":lock") end
  left = left - #removed
  if left <= 0 then return finished(1) end
end
local schedulers = read("ZRANGE", q.base .. "repeat", 0, left - 1) or {}
for _, id in ipairs(schedulers) do
  write("DEL", q.base .. "repeat:" .. id)
  write("ZREM", q.base .. "repeat", id)
end
if #schedulers == left then return finished(1) end
write("DEL", q.base .. "repeat")
write("DEL", q.events, q.base .. "delay", q.base .. "stalled-check", q.stalled, q.id, q.priority_counter, q.marker, q.meta,
  q.limiter, q.base .. "metrics:completed", q.base .. "metrics:completed:data", q.base .. "metrics:failed",
  q.base .. "metrics:failed:data")
return finished(0)
