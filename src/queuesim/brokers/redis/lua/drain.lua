-- Remove a page of the jobs that wait, or are delayed. No event tells of it (BullMQ 6.7). KEYS: the queue's base. ARGV: index of
-- the first, id before it ("" for the first page), how many at most, how many were removed before, state.
-- Returns {ids that were removed, index and id for the next page, 1 if there is none}.
-- include: queue, moves, paging, scheduling

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local removed, at, anchor, done = sweep(q, ARGV[5], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), function(id)
  -- the next jobs of schedulers stay (BullMQ 6.7)
  return is_present(q, id)
end)
return finished({ removed, at, anchor, done and 1 or 0 })
