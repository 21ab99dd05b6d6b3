-- Remove the old ones of a page of the jobs of a state; locked ones and the present jobs of schedulers stay (BullMQ 6.7).
-- KEYS: the queue's base. ARGV: index of the first, id before it ("" for the first page), how many at most, how many were
-- removed before, state, ms before which a job is old, how many to remove at most on all pages (0: all).
-- Returns {ids that were removed, index and id for the next page, 1 if there is none}.
-- include: queue, moves, paging, scheduling

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local removed_before, state, before, limit = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local left = limit > 0 and limit - removed_before or math.huge

-- When a job was last heard of.
local function last_seen(id)
  local times = quietly("HMGET", q.base .. id, "finishedOn", "processedOn", "timestamp") or {}
  return finite(times[1] or (state ~= "prioritized" and times[2]) or times[3]) or 0
end

local removed, at, anchor, done = sweep(q, state, tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), function(id)
  if left <= 0 then return true end
  local locked = state == "active" and read("EXISTS", q.base .. id .. ":lock") ~= 0
  if locked or last_seen(id) > before or is_present(q, id) then return true end
  left = left - 1
  return false
end)
done = done or left <= 0
if done then
  if has_work(q) then
    mark_work(q)
  end
  emit_of_queue(q, "cleaned", "count", removed_before + #removed)
end
return finished({ removed, at, anchor, done and 1 or 0 })
