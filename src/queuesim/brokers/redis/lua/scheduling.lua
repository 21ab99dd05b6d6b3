-- Job schedulers: a hash each, and a place in the sorted set `repeat` by when the pending job is due.
-- include: queue, moves, removal, adding

local function scheduler_keys(q, id)
  return q.base .. "repeat", q.base .. "repeat:" .. id
end

-- The id of a scheduler's present job, or nil.
local function present_job(q, id)
  local due = call("ZSCORE", q.base .. "repeat", id)
  return due and ("repeat:" .. id .. ":" .. whole(tonumber(due)))
end

-- The present job unless it has started, or nil.
local function pending_job(q, id)
  local job = present_job(q, id)
  if not job or call("EXISTS", q.base .. job) == 0 then return nil end
  if call("ZSCORE", q.completed, job) or call("ZSCORE", q.failed, job) or call("LPOS", q.active, job) then return nil end
  return job
end

-- Whether a job is the present one of its scheduler, which would stand still without it. The ids of jobs that BullMQ before
-- version 6 repeated don't all name their scheduler: the field rjk does.
local function is_present(q, job)
  local scheduler = job:sub(1, 7) == "repeat:" and quietly("HGET", q.base .. job, "rjk")
  local due = scheduler and read("ZSCORE", q.base .. "repeat", scheduler)
  if not due then return false end
  local ending = ":" .. whole(tonumber(due))
  return job:sub(-#ending) == ending
end

local function remove_pending(q, id)
  local job = pending_job(q, id)
  if not job then return end
  release_removed(q, job)
  -- its keys first: a key without a place would be a job in no state
  delete_keys(q, job)
  local state = take_out(q, job)
  emit(q, "removed", job, "prev", state or "unknown")
end

-- A scheduler's job: {name, data, opts, due, priority, lifo, deduplication_id or nil}. It is always added: no other job
-- stands for it, and it stands for none (BullMQ 6.7).
local function add_iteration(q, id, job, now)
  job.id = "repeat:" .. id .. ":" .. whole(job.due)
  job.scheduler, job.timestamp, job.delay = id, now, math.max(job.due - now, 0)
  add_job(q, job, now)
  return job.id
end

local function job_from_arguments(first)
  local deduplication_id = ARGV[first + 6]
  return {
    due = tonumber(ARGV[first]), name = ARGV[first + 1], data = ARGV[first + 2], opts = ARGV[first + 3],
    priority = tonumber(ARGV[first + 4]), lifo = ARGV[first + 5] == "1",
    deduplication_id = deduplication_id ~= "" and deduplication_id or nil,
  }
end
