-- Remove all jobs that wait, and delayed ones if asked. No event tells of it (BullMQ 6.7). KEYS: the queue's base.
-- ARGV: "1" for delayed ones, too. Returns the ids that were removed.
-- include: queue, moves, removal, listing, scheduling

local q = open_queue(KEYS[1])
local removed, kept = {}, {}
for _, state in ipairs({ "waiting", "prioritized", ARGV[1] == "1" and "delayed" or nil }) do
  for _, id in ipairs(ids_of(q, state, 0, -1, true)) do
    -- the next jobs of schedulers stay (BullMQ 6.7)
    if is_present(q, id) then
      kept[#kept + 1] = { state, id, call("ZSCORE", q.delayed, id), call("ZSCORE", q.prioritized, id) }
    else
      release_removed(q, id)
      delete_keys(q, id)
      removed[#removed + 1] = id
    end
  end
end
call("DEL", q.wait, q.prioritized)
if ARGV[1] == "1" then
  call("DEL", q.delayed)
end
for _, job in ipairs(kept) do
  if job[1] == "waiting" then
    call("LPUSH", q.wait, job[2])
  elseif job[1] == "prioritized" then
    call("ZADD", q.prioritized, job[4], job[2])
  else
    call("ZADD", q.delayed, job[3], job[2])
  end
end
return removed
