-- Give a delayed job a new delay. KEYS: the queue's base. ARGV: its id, the delay in ms, now.
-- Returns 0, -1: there is no such job, -3: it is not delayed.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local id = ARGV[1]
if call("EXISTS", q.base .. id) == 0 then return -1 end
-- it stays there while its new place is looked for: where that is in the same millisecond, it goes behind itself (BullMQ 6.7)
if not call("ZSCORE", q.delayed, id) then return -3 end
write("HSET", q.base .. id, "delay", ARGV[2])
postpone(q, id, tonumber(ARGV[3]) + tonumber(ARGV[2]))
return finished(0)
