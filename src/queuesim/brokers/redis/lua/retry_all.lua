-- Run finished jobs of a state again; they go to wait whatever their priority (BullMQ 6.7). KEYS: the queue's base.
-- ARGV: state, the last ms at which they finished ("": when the newest of them did), how many at once. Returns how many were
-- moved, and that last ms.
-- include: queue, moves, restart

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local state = ARGV[1]
local last = ARGV[2]
if last == "" then last = call("ZREVRANGE", q[state], 0, 0, "WITHSCORES")[2] or "-inf" end
local ids = call("ZRANGEBYSCORE", q[state], "-inf", last, "LIMIT", 0, ARGV[3])
for _, id in ipairs(ids) do
  if place("ZREM", q[state], id) then
    place("LPUSH", q.wait, id)
    forget_end(q, id, state, false)
    emit(q, "waiting", id, "prev", state)
  end
end
remove_settled()
if #ids > 0 then
  mark_work(q)
end
return finished({ #ids, last })
