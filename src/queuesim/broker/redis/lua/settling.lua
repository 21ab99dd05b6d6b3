-- What becomes of a job when its attempt ends.
-- include: queue, moves, removal, adding, locks, limiter

local ATTEMPTS_MADE, ATTEMPTS_STARTED, OPTIONS, DEDUPLICATION, STACKTRACE, PRIORITY, NAME = 1, 2, 3, 4, 5, 6, 7

local function read_job(q, id)
  local job = call("HMGET", q.base .. id, "atm", "ats", "opts", "deid", "stacktrace", "priority", "name", "attemptsMade")
  job[ATTEMPTS_MADE] = tonumber(job[ATTEMPTS_MADE] or job[8]) or 0
  job[PRIORITY] = tonumber(job[PRIORITY]) or 0
  return job
end

local function options_of(job)
  return job[OPTIONS] and cjson.decode(job[OPTIONS]) or {}
end

-- The job's own rule of retention, or else the worker's. true: remove at once; false: keep all; a number: so many.
local function retention(job, name, of_worker)
  -- most jobs have no rule of their own: to look is cheaper than to decode
  local rule
  if job[OPTIONS] and string.find(job[OPTIONS], name, 1, true) then
    rule = cjson.decode(job[OPTIONS])[name]
  end
  if rule == nil or rule == cjson.null then
    if of_worker == "" then return {} end
    return cjson.decode(of_worker)
  end
  if rule == true then return { count = 0 } end
  if type(rule) == "table" then return rule end
  return type(rule) == "number" and rule >= 0 and { count = rule } or {}
end

local function with_stacktrace(job, rows)
  if rows == "" then
    return job[STACKTRACE] or "[]"
  end
  local traces = cjson.decode(job[STACKTRACE] or "[]")
  for _, row in ipairs(cjson.decode(rows)) do traces[#traces + 1] = row end
  local limit = tonumber(options_of(job).stackTraceLimit)
  local kept = {}
  for i = limit and math.max(#traces - limit, 0) + 1 or 1, #traces do kept[#kept + 1] = traces[i] end
  return #kept > 0 and cjson.encode(kept) or "[]"
end

local function finish(q, id, job, state, keep, now, ...)
  local key, set = q.base .. id, q[state]
  if keep.count == 0 then
    delete_keys(q, id)
  else
    call("ZADD", set, now, id)
    call("HSET", key, "atm", job[ATTEMPTS_MADE] + 1, "finishedOn", whole(now), ...)
    if state == "failed" then call("HDEL", key, "defa") end
    if keep.age or keep.count then evict(q, set, keep, now) end
  end
  if job[DEDUPLICATION] then
    release_finished(q, job[DEDUPLICATION], id, now)
  end
end

local settle = {}

-- Completed: value, the worker's rule of retention
settle.C = function(q, id, job, now, value, keep)
  finish(q, id, job, "completed", retention(job, "removeOnComplete", keep), now, "returnvalue", value)
  emit_untrimmed(q, "completed", id, "returnvalue", value, "prev", "active")
end

-- Failed for good: reason, the worker's rule of retention, stack traces, {queue base, JSON} of a dead letter
settle.F = function(q, id, job, now, reason, keep, stacktrace, dead_letter)
  finish(q, id, job, "failed", retention(job, "removeOnFail", keep), now, "failedReason", reason, "stacktrace",
    with_stacktrace(job, stacktrace))
  emit_untrimmed(q, "failed", id, "failedReason", reason, "prev", "active")
  local made = job[ATTEMPTS_MADE] + 1
  if made >= (tonumber(options_of(job).attempts) or 0) then
    emit_untrimmed(q, "retries-exhausted", id, "attemptsMade", made)
  end
  if dead_letter ~= "" then
    -- in the same step as the failure, so that no crash comes between them
    local letter = cjson.decode(dead_letter)
    local other = read_meta(open_queue(letter.base))
    add_job(other, job_from_opts(job[NAME] or "", letter.data, '{"attempts":0}', nil, now), now)
  end
end

-- Failed, to run again: delay in ms, reason, stack traces, history
settle.R = function(q, id, job, now, delay, reason, stacktrace, history)
  local key, wait = q.base .. id, tonumber(delay)
  local fields = {
    "atm", job[ATTEMPTS_MADE] + 1, "failedReason", reason, "stacktrace", with_stacktrace(job, stacktrace),
  }
  if history ~= "" then
    local rows = cjson.decode(call("HGET", key, "history") or "[]")
    rows[#rows + 1] = cjson.decode(history)
    fields[#fields + 1] = "history"
    fields[#fields + 1] = cjson.encode(rows)
  end
  if wait > 0 then
    fields[#fields + 1] = "delay"
    fields[#fields + 1] = delay
  end
  call("HSET", key, unpack(fields))
  if wait > 0 then
    postpone(q, id, now + wait)
  else
    -- they were due before (BullMQ 6.7)
    promote_due(q, now)
    enqueue(q, id, job[PRIORITY], options_of(job).lifo == true)
    emit(q, "waiting", id, "prev", "active")
  end
end

-- Postponed by its handler: delay in ms
settle.P = function(q, id, job, now, delay)
  call("HSET", q.base .. id, "delay", delay)
  postpone(q, id, now + tonumber(delay))
end

-- Returned to the queue by its handler: ms for which to hold all starts
settle.B = function(q, id, job, now, hold)
  if hold ~= "" then hold_starts(q, tonumber(hold)) end
  put_in_front(q, id, job[PRIORITY])
  emit(q, "waiting", id, "prev", "active")
end

-- A repeated exchange: the answer to the first try was lost. Whether this outcome took effect then: the job is gone, or
-- has the counts that the outcome gives it and is not active, or was started anew by that very exchange.
local function was_applied(q, id, attempt, made, exchange_token)
  local counts = call("HMGET", q.base .. id, "ats", "atm")
  if not counts[1] then
    return call("EXISTS", q.base .. id) == 0
  end
  if call("GET", q.base .. id .. ":lock") == exchange_token then
    return true
  end
  return counts[1] == attempt and (counts[2] or "0") == made and not call("LPOS", q.active, id)
end

-- Do what one outcome asks for. Returns 0, or the error code with which it is refused.
local function apply(q, now, exchange_token, again, kind, id, token, attempt, made, ...)
  local code = give_back(q, id, token)
  if code ~= 0 then
    return again and was_applied(q, id, attempt, made, exchange_token) and 0 or code, false
  end
  settle[kind](q, id, read_job(q, id), now, ...)
  return 0, true
end
