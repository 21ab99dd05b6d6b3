-- Remove all jobs that wait, and delayed ones if asked. No event tells of it (BullMQ 6.7). KEYS: the queue's base.
-- ARGV: "1" for delayed ones, too. Returns the ids that were removed.
-- include: queue, removal, listing

local q = open_queue(KEYS[1])
local removed = {}
for _, state in ipairs({ "waiting", "prioritized", ARGV[1] == "1" and "delayed" or nil }) do
  for _, id in ipairs(ids_of(q, state, 0, -1, true)) do
    release_removed(q, id)
    delete_keys(q, id)
    removed[#removed + 1] = id
  end
end
call("DEL", q.wait, q.prioritized)
if ARGV[1] == "1" then
  call("DEL", q.delayed)
end
return removed
