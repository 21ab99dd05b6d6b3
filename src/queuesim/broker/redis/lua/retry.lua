-- Run a finished job again. KEYS: the queue's base. ARGV: job id, its state, "1" to reset its attempts.
-- Returns 0, -1 where there is no such job, -3 where it is not in that state.
-- include: queue, moves, restart

local q = read_meta(open_queue(KEYS[1]))
local id, state = ARGV[1], ARGV[2]
if call("EXISTS", q.base .. id) == 0 then return -1 end
if not RESULTS[state] or not call("ZSCORE", q[state], id) then return -3 end
forget_end(q, id, state, ARGV[3] == "1")
local job = call("HMGET", q.base .. id, "priority", "opts")
enqueue(q, id, tonumber(job[1]) or 0, job[2] and decode(job[2]).lifo == true)
emit(q, "waiting", id, "prev", state)
return 0
