-- Pause or resume. Jobs stay in wait. KEYS: the queue's base. ARGV: "1" to pause, "" to resume.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
if ARGV[1] == "1" then
  write("HSET", q.meta, "paused", 1)
  write("DEL", q.marker)
  emit_of_queue(q, "paused")
  return finished(0)
end
write("HDEL", q.meta, "paused")
q.is_paused = false
-- BullMQ 5 moved the jobs of a paused queue to a list of their own: they go in front, one by one. A list renamed over
-- another one would lose what was added meanwhile.
repeat until not write("LMOVE", q.paused, q.wait, "LEFT", "RIGHT")
if has_work(q) then
  -- as BullMQ does, also while no more may be active: whoever wakes looks and waits again
  write("ZADD", q.marker, "0", "0")
else
  mark_delay(q)
end
emit_of_queue(q, "resumed")
return finished(0)
