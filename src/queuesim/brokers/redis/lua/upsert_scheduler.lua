-- Store a scheduler, in place of another one of its id and of that one's pending job, and add its first job.
-- KEYS: the queue's base. ARGV: now, id; the job: due, name, data, opts, priority, lifo, deduplication id; then the fields
-- of the scheduler's hash. Returns the job's id, or -10: there is a job of that id that has started, and nothing has changed.
-- include: scheduling

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local now, id = tonumber(ARGV[1]), ARGV[2]
local set, hash = scheduler_keys(q, id)
local job = job_from_arguments(3)
local first = "repeat:" .. id .. ":" .. whole(job.due)
if first ~= pending_job(q, id) and call("EXISTS", q.base .. first) == 1 then return -10 end
remove_pending(q, id)
write("DEL", hash)
place("HSET", hash, "ic", 1, unpack(ARGV, 10))
place("ZADD", set, ARGV[3], id)
return finished(add_iteration(q, id, job, now))
