-- Run finished jobs of a state again; they go to wait whatever their priority (BullMQ 6.7). KEYS: the queue's base.
-- ARGV: state, the last ms at which they finished ("+inf": any), how many at once. Returns how many were moved.
-- include: queue, moves, restart

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local state = ARGV[1]
local ids = call("ZRANGEBYSCORE", q[state], "-inf", ARGV[2], "LIMIT", 0, ARGV[3])
for _, id in ipairs(ids) do
  if place("ZREM", q[state], id) then
    place("LPUSH", q.wait, id)
    forget_end(q, id, state, false)
    emit(q, "waiting", id, "prev", state)
  end
end
if #ids > 0 then
  mark_work(q)
end
return finished(#ids)
