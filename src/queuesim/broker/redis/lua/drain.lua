-- Remove all jobs that wait, and delayed ones if asked. No event tells of it (BullMQ 6.7). KEYS: the queue's base.
-- ARGV: "1" for delayed ones, too. Returns the ids that were removed.
-- include: queue, moves, removal, listing, scheduling

-- Take jobs out of the place of a state, as many at a time as one command takes.
local function take_all_out(q, state, ids)
  if SETS[state] then
    for at = 1, #ids, MANY do place("ZREM", q[SETS[state]], unpack(ids, at, math.min(at + MANY - 1, #ids))) end
    return
  end
  local gone, left = {}, {}
  for _, id in ipairs(ids) do gone[id] = true end
  for _, id in ipairs(read("LRANGE", q[LISTS[state]], 0, -1) or {}) do
    if not gone[id] then left[#left + 1] = id end
  end
  -- what stays goes in again behind what goes, so that at no time it is missing
  for at = 1, #left, MANY do place("RPUSH", q[LISTS[state]], unpack(left, at, math.min(at + MANY - 1, #left))) end
  if #left > 0 then
    place("LTRIM", q[LISTS[state]], -#left, -1)
  else
    place("DEL", q[LISTS[state]])
  end
end

local q = open_queue(KEYS[1])
check_keys(q)
local removed = {}
local states = { "waiting", "prioritized", ARGV[1] == "1" and "delayed" or nil }
for _, state in ipairs(states) do
  for _, id in ipairs(ids_of(q, state, 0, -1, true)) do
    -- the next jobs of schedulers stay (BullMQ 6.7)
    if not is_present(q, id) then
      release_removed(q, id)
      removed[#removed + 1] = id
    end
  end
end
-- their keys first: a key without a place would be a job in no state
delete_many(q, removed)
for _, state in ipairs(states) do take_all_out(q, state, removed) end
return finished(removed)
