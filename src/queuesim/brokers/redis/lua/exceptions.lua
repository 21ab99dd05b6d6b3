-- What happens to few jobs: outcomes other than completion, damaged keys, lost answers.
-- include: queue, moves, limiter, ending, locks, fields

-- The job's stack traces and those of this attempt, as JSON. Where the old ones can't be read, the new ones alone.
local function with_stacktrace(q, id, job, rows)
  local before = quietly("HGET", q.base .. id, "stacktrace") or "[]"
  if rows == "" then
    return before
  end
  local traces = decode(before)
  for _, row in ipairs(decode(rows)) do traces[#traces + 1] = row end
  local limit = whole_number(options_of(job).stackTraceLimit)
  local kept = {}
  for i = limit and math.max(#traces - limit, 0) + 1 or 1, #traces do kept[#kept + 1] = traces[i] end
  if #kept == 0 then return "[]" end
  local done, text = pcall(cjson.encode, kept)
  return done and text or rows
end

-- The job's history with one more row, as JSON. Text behind text: cjson would shorten numbers, and not write all that it
-- reads. What is no list begins anew.
local function with_history(q, id, row)
  local before = quietly("HGET", q.base .. id, "history") or "[]"
  local rows = pcall(cjson.decode, before) and string.match(before, "^%s*%[(.*)%]%s*$")
  return rows and string.find(rows, "%S") and "[" .. rows .. "," .. row .. "]" or "[" .. row .. "]"
end

-- A row for the job's log, which keeps as many as its option says.
local function add_note(q, id, job, note)
  local key, kept = q.base .. id .. ":logs", whole_number(options_of(job).kl)
  if quietly("RPUSH", key, note) and kept and kept > 0 then quietly("LTRIM", key, -kept, -1) end
end

-- Whether the job's parent can be told of its end. If it can't, the job ends all the same, and its log says why.
local function has_parent(q, id, job)
  if not job[PARENT] and not job[PARENT_KEY] then return false end
  local trouble = flows.parent_trouble(job[PARENT], job[PARENT_KEY])
  if trouble then add_note(q, id, job, "queuesim: the parent of this job was not told of its end: " .. trouble) end
  return trouble == nil
end

-- The queue of a dead letter {queue base, JSON}, and the letter; nil where it can't be added, which the job's log says.
local function open_letter(q, id, job, dead_letter)
  local letter = decode(dead_letter)
  local other = open_queue(letter.base)
  local trouble = adding.adding_trouble(other)
  if trouble then
    add_note(q, id, job, "queuesim: the dead letter of this job was not added: " .. trouble)
    return nil
  end
  return read_meta(other), letter
end

-- Failed for good: reason, the worker's rule of retention, stack traces, {queue base, JSON} of a dead letter
local function outcome_F(q, id, job, now, made, reason, keep, stacktrace, dead_letter)
  local other, letter, name
  if dead_letter ~= "" then
    other, letter = open_letter(q, id, job, dead_letter)
    name = quietly("HGET", q.base .. id, "name")
  end
  if job[PARENT] and has_parent(q, id, job) then flows.child_failed(q, id, job[PARENT], reason, now) end
  local traces = with_stacktrace(q, id, job, stacktrace)
  finish(q, id, job, "failed", retention(job, "removeOnFail", keep), now, made, "failedReason", reason, "stacktrace", traces)
  emit_untrimmed(q, "failed", id, "failedReason", reason, "prev", "active")
  local attempts = job[ATTEMPTS_MADE] + 1
  if attempts >= (whole_number(options_of(job).attempts) or 0) then
    emit_untrimmed(q, "retries-exhausted", id, "attemptsMade", whole(attempts))
  end
  if other then
    -- in the same step as the failure, so that no crash comes between them
    local letter_id = adding.add_job(other, adding.job_from_opts(name or "", letter.data, '{"attempts":0}', nil, now), now)
    -- whoever retries the failed job settles its letter
    local key = q.base .. id
    if letter_id and quietly("EXISTS", key) == 1 then quietly("HSET", key, "letter", letter.base .. letter_id) end
  end
end

-- Failed, to run again: delay in ms, reason, stack traces, history
local function outcome_R(q, id, job, now, made, delay, reason, stacktrace, history)
  local key, wait = q.base .. id, finite(delay) or 0
  local fields = {
    "atm", made_now(job, made), "failedReason", reason, "stacktrace", with_stacktrace(q, id, job, stacktrace),
  }
  if history ~= "" then
    fields[#fields + 1] = "history"
    fields[#fields + 1] = with_history(q, id, history)
  end
  if wait > 0 then
    fields[#fields + 1] = "delay"
    fields[#fields + 1] = delay
  end
  write("HSET", key, unpack(fields))
  if wait > 0 then
    postpone(q, id, now + wait)
  else
    -- they were due before (BullMQ 6.7)
    promote_due(q, now)
    enqueue(q, id, priority_of(q, id), options_of(job).lifo == true)
    emit(q, "waiting", id, "prev", "active")
  end
end

-- Postponed by its handler: delay in ms
local function outcome_P(q, id, job, now, made, delay)
  write("HSET", q.base .. id, "delay", delay)
  postpone(q, id, now + (finite(delay) or 0))
end

-- Returned to the queue by its handler: ms for which to hold all starts
local function outcome_B(q, id, job, now, made, hold)
  q.returned = true
  if hold ~= "" then hold_starts(q, finite(hold) or 0) end
  put_in_front(q, id, priority_of(q, id))
  emit(q, "waiting", id, "prev", "active")
end

-- A job whose keys are not what a queue writes: it fails for good whatever its attempt came to, and so that nothing of it has
-- to be read.
local function fail_damaged(q, id, now, damage)
  local reason = "job " .. id .. " can't be given back: " .. damage .. ". Correct its keys and retry it."
  place("ZADD", q.failed, q.now, id)
  quietly("HDEL", q.base .. id, "defa")
  quietly("HSET", q.base .. id, "finishedOn", q.now, "failedReason", reason)
  emit_untrimmed(q, "failed", id, "failedReason", reason, "prev", "active")
end

-- A repeated exchange: the answer to the first try was lost. Whether this outcome took effect then: the job is gone, or
-- has the counts that the outcome gives it and is not active, or was started anew by that very exchange. A job that had
-- stalled is started by it too, after it refused the outcome.
local function was_applied(q, id, attempt, made, exchange_token)
  local counts = quietly("HMGET", q.base .. id, "ats", "atm") or {}
  if not counts[1] then
    return read("EXISTS", q.base .. id) == 0
  end
  if (quietly("MGET", q.base .. id .. ":lock") or {})[1] == exchange_token then
    return (counts[2] or "0") == made
  end
  return counts[1] == attempt and (counts[2] or "0") == made and not read("LPOS", q.active, id)
end

-- A job whose key is no hash: nobody can run it, nor write into it why. It fails for good, and the event says why.
local function fail_without_hash(q, id, now)
  local found = type_of(q.base .. id)
  -- where the type is right, reading failed by itself: the stalled check will bring it back
  if not found or found == "hash" then return end
  if place("LREM", q.active, 1, id) then place("ZADD", q.failed, whole(now), id) end
  local reason = "job " .. id .. " can't be read: its key " .. q.base .. id .. " is a " .. found .. ", not a hash"
  emit_untrimmed(q, "failed", id, "failedReason", reason, "prev", "active")
end

-- What `start` writes into the hash and the row of a job that was started before.
local function count_start(fields)
  -- attempts that were reset begin anew
  local before = whole_number(fields[STARTED] or "0")
  if before then
    fields[STARTED] = whole(before + 1)
    return fields[STARTED]
  end
  -- what is no count begins anew; the worker gets it marked, so that it can say so
  fields[STARTED] = "?" .. fields[STARTED]
  return "1"
end

-- The jobs that the lost answer to this exchange carried, the first to start first.
local function retake(q, terms, taken)
  local active = read("LRANGE", q.active, 0, -1) or {}
  for i = #active, 1, -1 do
    local id = active[i]
    local lock = q.base .. id .. ":lock"
    if (quietly("MGET", lock) or {})[1] == terms.token then
      write("SET", lock, terms.token, "PX", terms.lock)
      write("SREM", q.stalled, id)
      taken[#taken + 1] = read_fields(q, id)
    end
  end
end
