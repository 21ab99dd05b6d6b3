-- What becomes of a job when its attempt ends.
-- include: queue, moves, removal, locks, limiter, ending
-- rarely: exceptions

local PENDING_CHILDREN, FAILED_CHILDREN = -4, -9

-- Batches from here on take their jobs out of active at one go.
local MANY_ENDED = 4

-- Completed: value, the worker's rule of retention
local function complete(q, id, job, now, made, value, keep)
  if (job[PARENT] or job[PARENT_KEY]) and exceptions.has_parent(q, id, job) then
    flows.child_completed(q, id, job[PARENT], job[PARENT_KEY], value, now)
  end
  finish(q, id, job, "completed", retention(job, "removeOnComplete", keep), now, made, "returnvalue", value)
  emit_untrimmed(q, "completed", id, "returnvalue", value, "prev", "active")
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
    return batch.again and exceptions.was_applied(q, id, attempt, made, batch.token) and 0 or code, false
  end
  if job.damage then
    exceptions.fail_damaged(q, id, now, job.damage)
    return DAMAGED, true
  end
  if note ~= "" then exceptions.add_note(q, id, job, note) end
  if kind == "C" then
    complete(q, id, job, now, made, a, b)
  else
    exceptions["outcome_" .. kind](q, id, job, now, made, a, b, c, d)
  end
  return 0, true
end

-- Do what all outcomes ask for, each `width` words of ARGV from `first` on. Returns index and code of each that was
-- refused in a flat list, and the kind of the last one that was done.
local function apply_all(q, now, token, again, first, width)
  local batch = survey(q, first, width)
  -- not yet a write that matters: see `exchange`
  call("XTRIM", q.events, "MAXLEN", "~", q.max_events)
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
