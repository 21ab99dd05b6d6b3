-- Let a delayed job run now. KEYS: the queue's base. ARGV: its id. Returns 0, -1: there is no such job, -3: it is not delayed.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local id = ARGV[1]
if call("EXISTS", q.base .. id) == 0 then return -1 end
if place("ZREM", q.delayed, id) ~= 1 then return -3 end
enqueue(q, id, priority_of(q, id), false)
quietly("HSET", q.base .. id, "delay", 0)
emit(q, "waiting", id, "prev", "delayed")
return finished(0)
