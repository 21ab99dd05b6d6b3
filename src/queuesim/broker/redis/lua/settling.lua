-- What becomes of a job when its attempt ends.
-- include: queue, moves, removal, adding, locks, limiter, flows

local ATTEMPTS_MADE, ATTEMPTS_STARTED, OPTIONS, DEDUPLICATION, ATTEMPTS_MADE_BEFORE = 1, 2, 3, 4, 5
local PARENT, PARENT_KEY = 6, 7
local PENDING_CHILDREN, FAILED_CHILDREN = -4, -9

-- Batches from here on take their jobs out of active at one go.
local MANY_ENDED = 4

-- What every outcome needs to know of its job; what only some do, they ask for themselves. Raises where its key is no hash.
local function read_job(key)
  local job = call("HMGET", key, "atm", "ats", "opts", "deid", "attemptsMade", "parent", "parentKey")
  job[ATTEMPTS_MADE] = whole_number(job[ATTEMPTS_MADE] or job[ATTEMPTS_MADE_BEFORE]) or 0
  return job
end

-- The jobs of a batch have most of their options in common: each text is decoded once.
local known = {}

local function decoded(text)
  local value = known[text]
  if value == nil then
    value = decode(text)
    known[text] = value
  end
  return value
end

local function options_of(job)
  return job[OPTIONS] and decoded(job[OPTIONS]) or {}
end

-- A rule of retention as options have it: true removes at once, false keeps all, a number keeps so many. nil: no rule.
-- A limit that is not a number limits nothing.
local function rule_of(options, name)
  local rule = decoded(options)[name]
  if rule == nil or rule == cjson.null then return nil end
  if rule == true then return { count = 0 } end
  if type(rule) == "table" then
    local limit = whole_number(rule.limit)
    return { count = whole_number(rule.count), age = finite(rule.age), limit = limit ~= 0 and limit or nil }
  end
  return { count = whole_number(rule) }
end

local NO_RULE = {}
local rules = { removeOnComplete = {}, removeOnFail = {} }

-- The job's own rule of retention, or else the worker's.
local function retention(job, name, of_worker)
  local options = job[OPTIONS]
  if options then
    local rule = rules[name][options]
    if rule == nil then
      -- most jobs have no rule of their own: to look is cheaper than to decode
      rule = string.find(options, name, 1, true) and rule_of(options, name) or NO_RULE
      rules[name][options] = rule
    end
    if rule ~= NO_RULE then return rule end
  end
  return of_worker == "" and NO_RULE or decoded(of_worker)
end

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

-- The jobs that completed in this batch, as score and id: they go into their set together, for nobody looks before.
local function flush_completed(q)
  local pairs_of = q.completing
  for at = 1, #pairs_of, MANY do
    place("ZADD", q.completed, unpack(pairs_of, at, math.min(at + MANY - 1, #pairs_of)))
  end
  q.completing = {}
end

-- Delete jobs that retention no longer keeps. They freed their deduplication ids when they finished. A parent may still wait
-- for a child that failed, and only then; it waits for it no longer.
local function evict_jobs(q, set, ids)
  local kin = {}
  if set == q.failed then
    for i, id in ipairs(ids) do kin[i] = kin_of(q, id) or false end
  end
  delete_many(q, ids, set)
  for i, fields in ipairs(kin) do
    if fields then child_removed(q, ids[i], fields) end
  end
end

-- What retention no longer keeps.
local function evict(q, set, keep, now)
  if keep.age then
    local oldest = now - keep.age * 1000
    evict_jobs(q, set, read("ZREVRANGEBYSCORE", set, oldest, "-inf", "LIMIT", 0, keep.limit or 1000) or {})
  end
  if keep.count and keep.count > 0 then
    evict_jobs(q, set, read("ZREVRANGE", set, keep.count, -1) or {})
  end
end

-- Jobs of a batch mostly share a rule. What it leaves over goes at the end of the batch, or before another rule counts.
local function evict_later(q, set, keep)
  q.evicting[set] = keep
end

local function evict_now(q, set, now)
  if q.evicting[set] then
    flush_completed(q)
    evict(q, set, q.evicting[set], now)
    q.evicting[set] = nil
  end
end

-- The number of attempts made once this one counts. Lua writes numbers slowly; the worker mostly wrote it already.
local function made_now(job, made)
  local number = job[ATTEMPTS_MADE] + 1
  return tonumber(made) == number and made or tostring(number)
end

local function finish(q, id, job, state, keep, now, made, ...)
  local key, set = job.key, q[state]
  if keep.count == 0 then
    delete_keys(q, id)
    child_removed(q, id, { job[PARENT], job[PARENT_KEY] })
  else
    if q.evicting[set] and q.evicting[set].count ~= keep.count then evict_now(q, set, now) end
    if state == "failed" then
      place("ZADD", set, q.now, id)
      quietly("HDEL", key, "defa")
    else
      local completing = q.completing
      completing[#completing + 1] = q.now
      completing[#completing + 1] = id
    end
    write("HSET", key, "atm", made_now(job, made), "finishedOn", q.now, ...)
    if state == "failed" then
      -- at once, for it may let a parent run
      evict(q, set, keep, now)
    elseif keep.age then
      flush_completed(q)
      evict(q, set, keep, now)
    elseif keep.count then
      evict_later(q, set, keep)
    end
  end
  if job[DEDUPLICATION] then
    release_finished(q, job[DEDUPLICATION], id, now)
  end
end

-- A row for the job's log, which keeps as many as its option says.
local function add_note(q, id, job, note)
  local key, kept = q.base .. id .. ":logs", whole_number(options_of(job).kl)
  if quietly("RPUSH", key, note) and kept and kept > 0 then quietly("LTRIM", key, -kept, -1) end
end

-- Whether the job's parent can be told of its end. If it can't, the job ends all the same, and its log says why.
local function has_parent(q, id, job)
  if not job[PARENT] and not job[PARENT_KEY] then return false end
  local trouble = parent_trouble(job[PARENT], job[PARENT_KEY])
  if trouble then add_note(q, id, job, "queuesim: the parent of this job was not told of its end: " .. trouble) end
  return trouble == nil
end

-- The queue of a dead letter {queue base, JSON}, and the letter; nil where it can't be added, which the job's log says.
local function open_letter(q, id, job, dead_letter)
  local letter = decode(dead_letter)
  local other = open_queue(letter.base)
  local trouble = adding_trouble(other)
  if trouble then
    add_note(q, id, job, "queuesim: the dead letter of this job was not added: " .. trouble)
    return nil
  end
  return read_meta(other), letter
end

local settle = {}

-- Completed: value, the worker's rule of retention
settle.C = function(q, id, job, now, made, value, keep)
  if has_parent(q, id, job) then child_completed(q, id, job[PARENT], job[PARENT_KEY], value, now) end
  finish(q, id, job, "completed", retention(job, "removeOnComplete", keep), now, made, "returnvalue", value)
  emit_untrimmed(q, "completed", id, "returnvalue", value, "prev", "active")
end

-- Failed for good: reason, the worker's rule of retention, stack traces, {queue base, JSON} of a dead letter
settle.F = function(q, id, job, now, made, reason, keep, stacktrace, dead_letter)
  local other, letter, name
  if dead_letter ~= "" then
    other, letter = open_letter(q, id, job, dead_letter)
    name = quietly("HGET", q.base .. id, "name")
  end
  if job[PARENT] and has_parent(q, id, job) then child_failed(q, id, job[PARENT], reason, now) end
  local traces = with_stacktrace(q, id, job, stacktrace)
  finish(q, id, job, "failed", retention(job, "removeOnFail", keep), now, made, "failedReason", reason, "stacktrace", traces)
  emit_untrimmed(q, "failed", id, "failedReason", reason, "prev", "active")
  local attempts = job[ATTEMPTS_MADE] + 1
  if attempts >= (whole_number(options_of(job).attempts) or 0) then
    emit_untrimmed(q, "retries-exhausted", id, "attemptsMade", whole(attempts))
  end
  if other then
    -- in the same step as the failure, so that no crash comes between them
    local letter_id = add_job(other, job_from_opts(name or "", letter.data, '{"attempts":0}', nil, now), now)
    -- whoever retries the failed job settles its letter
    local key = q.base .. id
    if letter_id and quietly("EXISTS", key) == 1 then quietly("HSET", key, "letter", letter.base .. letter_id) end
  end
end

-- Failed, to run again: delay in ms, reason, stack traces, history
settle.R = function(q, id, job, now, made, delay, reason, stacktrace, history)
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
settle.P = function(q, id, job, now, made, delay)
  write("HSET", q.base .. id, "delay", delay)
  postpone(q, id, now + (finite(delay) or 0))
end

-- Returned to the queue by its handler: ms for which to hold all starts
settle.B = function(q, id, job, now, made, hold)
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
-- has the counts that the outcome gives it and is not active, or was started anew by that very exchange.
local function was_applied(q, id, attempt, made, exchange_token)
  local counts = quietly("HMGET", q.base .. id, "ats", "atm") or {}
  if not counts[1] then
    return read("EXISTS", q.base .. id) == 0
  end
  if (quietly("MGET", q.base .. id .. ":lock") or {})[1] == exchange_token then
    return true
  end
  return counts[1] == attempt and (counts[2] or "0") == made and not read("LPOS", q.active, id)
end

-- What a batch of outcomes is about: who holds the lock of each job, by id, and whether any has children.
local function survey(q, first, width)
  local locks, families, holders, children = {}, {}, {}, 0
  for i = first, #ARGV, width do
    local key = q.base .. ARGV[i + 1]
    locks[#locks + 1] = key .. ":lock"
    if ARGV[i] == "C" then
      families[#families + 1] = key .. ":dependencies"
      families[#families + 1] = key .. ":unsuccessful"
    end
  end
  for at = 1, #locks, MANY do
    local found = call("MGET", unpack(locks, at, math.min(at + MANY - 1, #locks)))
    for i, holder in ipairs(found) do holders[ARGV[first + (at + i - 2) * width + 1]] = holder end
  end
  for at = 1, #families, MANY do
    children = children + call("EXISTS", unpack(families, at, math.min(at + MANY - 1, #families)))
  end
  return { holders = holders, has_children = children > 0, removed = {}, unlocked = {} }
end

-- The jobs that end were mostly started together, so that they stand together at the end of active: take them out at one
-- go, and put back what else came with them.
local function remove_together(q, batch, first, width)
  local ending, count = {}, 0
  for i = first, #ARGV, width do
    local id = ARGV[i + 1]
    if batch.holders[id] == ARGV[i + 2] and not ending[id] then
      ending[id] = true
      count = count + 1
    end
  end
  if count < MANY_ENDED then return end
  local others, popped = {}, write("RPOP", q.active, count) or {}
  for i = #popped, 1, -1 do
    if ending[popped[i]] then
      batch.removed[popped[i]] = true
    else
      others[#others + 1] = popped[i]
    end
  end
  for at = 1, #others, MANY do
    place("RPUSH", q.active, unpack(others, at, math.min(at + MANY - 1, #others)))
  end
end

-- Take the locks off the jobs that were given back. They count as gone from the moment of that: nobody looks before.
local function unlock(q, ids)
  for at = 1, #ids, MANY do
    local last = math.min(at + MANY - 1, #ids)
    local locks = {}
    for i = at, last do locks[#locks + 1] = q.base .. ids[i] .. ":lock" end
    write("DEL", unpack(locks))
    write("SREM", q.stalled, unpack(ids, at, last))
  end
end

-- Why a job can't be given back, as an error code; 0 if it can.
local function refusal(q, key, job, token, holder, batch, kind, now)
  if not holder then
    -- an outcome before this one may have driven it out
    evict_now(q, q.completed, now)
  end
  if (not job[ATTEMPTS_STARTED] or not holder) and read("EXISTS", key) == 0 then
    return JOB_MISSING
  end
  -- a parent is not complete before its children
  if kind == "C" and batch.has_children and (read("EXISTS", key .. ":dependencies", key .. ":unsuccessful") or 0) > 0 then
    local pending = quietly("SCARD", key .. ":dependencies")
    if pending then return pending > 0 and PENDING_CHILDREN or FAILED_CHILDREN end
    job.damage = key .. ":dependencies is a " .. (type_of(key .. ":dependencies") or "key that can't be read")
  end
  if holder ~= token then
    return holder and LOCK_MISMATCH or LOCK_MISSING
  end
  return 0
end

-- Give a job back that `token` holds: out of active, no lock. Returns 0, or the error code of a refusal, and the job.
local function give_back(q, id, token, batch, kind, now)
  local key = q.base .. id
  local done, job = pcall(read_job, key)
  if not done then job = { damage = message_of(job), [ATTEMPTS_STARTED] = "" } end
  local code = refusal(q, key, job, token, batch.holders[id], batch, kind, now)
  if code ~= 0 then
    if batch.removed[id] then
      place("RPUSH", q.active, id)
      batch.removed[id] = nil
    end
    return code
  end
  batch.holders[id] = false
  batch.unlocked[#batch.unlocked + 1] = id
  if batch.removed[id] then
    batch.removed[id] = nil
  elseif (place("LREM", q.active, -1, id) or 0) == 0 then
    return NOT_ACTIVE
  end
  job.key = key
  return 0, job
end

-- Do what one outcome asks for. Returns 0, or the error code with which it is refused, and whether it was done now.
local function apply(q, now, batch, kind, id, token, attempt, made, a, b, c, d, note)
  local code, job = give_back(q, id, token, batch, kind, now)
  if code ~= 0 then
    return batch.again and was_applied(q, id, attempt, made, batch.token) and 0 or code, false
  end
  if job.damage then
    fail_damaged(q, id, now, job.damage)
    return DAMAGED, true
  end
  if note ~= "" then add_note(q, id, job, note) end
  settle[kind](q, id, job, now, made, a, b, c, d)
  return 0, true
end

-- Do what all outcomes ask for, each `width` words of ARGV from `first` on. Returns index and code of each that was
-- refused in a flat list, and the kind of the last one that was done.
local function apply_all(q, now, token, again, first, width)
  local batch = survey(q, first, width)
  trim_events(q)
  batch.token, batch.again = token, again
  remove_together(q, batch, first, width)
  local refused, last = {}, nil
  q.evicting, q.completing = {}, {}
  for i = first, #ARGV, width do
    local code, done = apply(q, now, batch, unpack(ARGV, i, i + width - 1))
    if code ~= 0 then
      refused[#refused + 1] = (i - first) / width
      refused[#refused + 1] = code
    end
    if done then
      last = ARGV[i]
    end
  end
  unlock(q, batch.unlocked)
  flush_completed(q)
  evict_now(q, q.completed, now)
  return refused, last
end
