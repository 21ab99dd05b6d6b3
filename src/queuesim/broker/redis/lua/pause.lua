-- Pause or resume. Jobs stay in wait. KEYS: the queue's base. ARGV: "1" to pause, "" to resume.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
if ARGV[1] == "1" then
  call("HSET", q.meta, "paused", 1)
  call("DEL", q.marker)
  emit_of_queue(q, "paused")
  return 0
end
call("HDEL", q.meta, "paused")
q.is_paused = false
-- BullMQ 5 moved the jobs of a paused queue to a list of their own: they go in front, one by one. A list renamed over
-- another one would lose what was added meanwhile.
repeat until not call("LMOVE", q.base .. "paused", q.wait, "LEFT", "RIGHT")
if call("LLEN", q.wait) > 0 or call("ZCARD", q.prioritized) > 0 then
  mark_work(q)
else
  mark_delay(q)
end
emit_of_queue(q, "resumed")
return 0
