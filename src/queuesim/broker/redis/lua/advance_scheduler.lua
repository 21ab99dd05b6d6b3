-- Add a scheduler's next job, if this is its present one. KEYS: the queue's base. ARGV: now, id, the present job's id; the
-- next job: due ("": that was the last), name, data, opts, priority, lifo, deduplication. Returns the new job's id, or "".
-- include: scheduling

local q = read_meta(open_queue(KEYS[1]))
local now, id = tonumber(ARGV[1]), ARGV[2]
local set, hash = scheduler_keys(q, id)
if present_job(q, id) ~= ARGV[3] then return "" end
if ARGV[4] == "" then
  call("ZREM", set, id)
  call("DEL", hash)
  return ""
end
local job = job_from_arguments(4)
call("ZADD", set, ARGV[4], id)
call("HINCRBY", hash, "ic", 1)
local next_id = "repeat:" .. id .. ":" .. whole(job.due)
if call("EXISTS", q.base .. next_id) == 1 then
  emit(q, "duplicated", next_id)
  return ""
end
return add_iteration(q, id, job, now)
