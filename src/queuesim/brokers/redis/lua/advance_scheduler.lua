-- Add a scheduler's next job, if this is its present one. KEYS: the queue's base. ARGV: now, id, the present job's id; the
-- next job: due ("": that was the last), name, data, opts, priority, lifo, deduplication id. Returns the new job's id, or "";
-- or -10: there is a job of that id already, and nothing has changed.
-- include: scheduling

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local now, id = tonumber(ARGV[1]), ARGV[2]
local set, hash = scheduler_keys(q, id)
if present_job(q, id) ~= ARGV[3] then return "" end
if ARGV[4] == "" then
  write("ZREM", set, id)
  write("DEL", hash)
  return finished("")
end
local job = job_from_arguments(4)
if call("EXISTS", q.base .. "repeat:" .. id .. ":" .. whole(job.due)) == 1 then return -10 end
place("ZADD", set, ARGV[4], id)
-- BullMQ before version 6 counted in the jobs
if quietly("HEXISTS", hash, "ic") == 1 then quietly("HINCRBY", hash, "ic", 1) end
return finished(add_iteration(q, id, job, now))
