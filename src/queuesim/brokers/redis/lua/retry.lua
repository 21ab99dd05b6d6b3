-- Run a finished job again. KEYS: the queue's base. ARGV: job id, its state, "1" to reset its attempts.
-- Returns 0, -1 where there is no such job, -3 where it is not in that state.
-- include: queue, moves, restart

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local id, state = ARGV[1], ARGV[2]
if call("EXISTS", q.base .. id) == 0 then return -1 end
if not RESULTS[state] or not call("ZSCORE", q[state], id) then return -3 end
local job = quietly("HMGET", q.base .. id, "priority", "opts") or {}
if not place("ZREM", q[state], id) then return finished(0) end
enqueue(q, id, whole_number(job[1]) or 0, job[2] and decode(job[2]).lifo == true)
forget_end(q, id, state, ARGV[3] == "1")
remove_settled()
emit(q, "waiting", id, "prev", state)
return finished(0)
