-- Remove old jobs of one state; locked ones and the present jobs of schedulers stay (BullMQ 6.7). KEYS: the queue's base.
-- ARGV: ms before which a job is old, how many at most (0: all), state. Returns the ids that were removed.
-- include: queue, moves, removal, listing, scheduling

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local before, limit, state = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

-- When a job was last heard of.
local function last_seen(id)
  local times = quietly("HMGET", q.base .. id, "finishedOn", "processedOn", "timestamp") or {}
  return finite(times[1] or (state ~= "prioritized" and times[2]) or times[3]) or 0
end

local removed = {}
for _, id in ipairs(ids_of(q, state, 0, -1, true)) do
  if limit > 0 and #removed >= limit then break end
  local locked = state == "active" and read("EXISTS", q.base .. id .. ":lock") ~= 0
  if not locked and last_seen(id) <= before and not is_present(q, id) then
    release_removed(q, id)
    delete_keys(q, id)
    take_out(q, id)
    removed[#removed + 1] = id
  end
end
if has_work(q) then
  mark_work(q)
end
emit_of_queue(q, "cleaned", "count", #removed)
return finished(removed)
