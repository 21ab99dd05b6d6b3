-- Storing and enqueueing a job, duplicates, deduplication.
-- include: queue, moves, removal

-- A deduplication id is held until the owner finishes (nil), or for some ms. To keep the last duplicate it is held
-- until then, time-to-live or not (BullMQ 6.7).
local function hold_time(deduplication)
  local ttl = finite(deduplication.ttl)
  if not ttl or ttl <= 0 or deduplication.keepLastIfActive then
    return nil
  end
  return ttl
end

local function hold(q, deduplication, id, keep_ttl)
  local key, ttl = q.base .. "de:" .. deduplication.id, hold_time(deduplication)
  if ttl and keep_ttl and not deduplication.extend then
    if keep_ttl > 0 then
      write("SET", key, id, "PX", keep_ttl)
    else
      write("SET", key, id)
    end
  elseif ttl then
    write("SET", key, id, "PX", whole(ttl))
  else
    write("SET", key, id)
  end
end

-- What a duplicate still does: stay to run after its owner, extend the hold, or move its owner.
local function drop_duplicate(q, job, id, owner, now)
  local deduplication = job.deduplication
  local key = q.base .. "de:" .. deduplication.id
  if deduplication.keepLastIfActive and read("LPOS", q.active, owner) then
    write("HSET", q.base .. "dn:" .. deduplication.id, "name", job.name, "data", job.data, "opts", job.opts, "jid", id)
    write("PERSIST", key)
  elseif deduplication.replace then
    -- too late to replace it, and nobody is told (BullMQ 6.7)
    return
  elseif deduplication.extend and deduplication.ttl and deduplication.ttl > 0 then
    local ttl = hold_time(deduplication)
    if ttl then
      write("SET", key, owner, "PX", whole(ttl))
    else
      write("SET", key, owner)
    end
  end
  emit(q, "deduplicated", owner, "deduplicationId", deduplication.id, "deduplicatedJobId", id)
  if deduplication.reschedule and read("ZSCORE", q.delayed, owner) then
    quietly("HSET", q.base .. owner, "delay", job.delay)
    postpone(q, owner, job.timestamp + job.delay)
  end
end

-- The id of the job that stands for this one; nil if this one is to be added.
local function deduplicate(q, job, id, now)
  local deduplication = job.deduplication
  local key = q.base .. "de:" .. deduplication.id
  -- MGET has no error for a key of another type, which is nobody's
  local owner = (read("MGET", key) or {})[1]
  if not owner then
    hold(q, deduplication, id)
    return nil
  end
  if deduplication.replace and read("ZSCORE", q.delayed, owner) then
    local ttl = read("PTTL", key) or -1
    if place("DEL", q.base .. owner) then place("ZREM", q.delayed, owner) end
    delete_keys(q, owner)
    write("DEL", key)
    emit(q, "removed", owner, "prev", "delayed")
    emit(q, "deduplicated", id, "deduplicationId", deduplication.id, "deduplicatedJobId", owner)
    hold(q, deduplication, id, ttl)
    return nil
  end
  if read("EXISTS", q.base .. owner) == 0 and read("PTTL", key) == -1 then
    -- the owner is gone without having freed it
    hold(q, deduplication, id)
    return nil
  end
  drop_duplicate(q, job, id, owner, now)
  return owner
end

-- Move the counter of ids on. Returns where it stands now; nil if it is no counter. Every add sees to it that meta says how
-- many events are kept.
local function take_numbers(q, count)
  local number = write("INCRBY", q.id, count)
  if number and not q.knows_max_events then
    write("HSET", q.meta, "opts.maxLenEvents", MAX_EVENTS)
    q.knows_max_events = true
  end
  return number
end

-- The fields of a new job's hash.
local function fields_of(job)
  local fields = {
    "name", job.name, "data", job.data, "opts", job.opts, "timestamp", whole(job.timestamp), "delay", whole(job.delay),
    "priority", whole(job.priority),
  }
  local deduplication_id = job.deduplication_id or (job.deduplication and job.deduplication.id)
  if deduplication_id then
    fields[#fields + 1] = "deid"
    fields[#fields + 1] = deduplication_id
  end
  if job.scheduler then
    fields[#fields + 1] = "rjk"
    fields[#fields + 1] = job.scheduler
  end
  if job.history then
    -- a job that has been started before is read with its history
    for _, word in ipairs({ "history", job.history, "ats", "0" }) do fields[#fields + 1] = word end
  end
  if job.parent_key then
    for _, word in ipairs({ "parentKey", job.parent_key, "parent", job.parent }) do fields[#fields + 1] = word end
  end
  return fields
end

-- Add one job: {id or nil, name, data, opts, timestamp, delay, priority, lifo, deduplication or nil}, times in ms.
-- `deduplication_id` is only stored. Returns the id of the job that stands for it, and whether it was added now; nil if
-- nothing could be added.
local function add_job(q, job, now)
  -- the counter moves on for duplicates too (BullMQ 6.7)
  local number = take_numbers(q, 1)
  if not number then return nil end
  local id = job.id or whole(number)
  if job.id and read("EXISTS", q.base .. id) == 1 then
    emit(q, "duplicated", id)
    return id
  end
  if job.deduplication then
    local owner = deduplicate(q, job, id, now)
    if owner then
      return owner
    end
  end
  if not place("HSET", q.base .. id, unpack(fields_of(job))) then return nil end
  emit_untrimmed(q, "added", id, "name", job.name)
  if job.parent_key then
    place("SADD", job.parent_key .. ":dependencies", q.base .. id)
  end
  if job.has_children then
    place("ZADD", q.children, whole(now), id)
    emit(q, "waiting-children", id)
  elseif job.delay > 0 then
    postpone(q, id, job.timestamp + job.delay)
  else
    enqueue(q, id, job.priority, job.lifo)
    emit(q, "waiting", id)
  end
  return id, true
end

-- Nothing of a job's options says how it is added.
local function is_plain(job)
  return job.delay == 0 and job.priority == 0 and not job.lifo and not job.deduplication and not job.history
end

-- Add jobs with automatic ids, nothing of whose options says how: {name, data, template} each. Their ids go into `ids`.
local function add_plain_jobs(q, jobs, ids)
  local last = take_numbers(q, #jobs)
  if not last then return end
  local number, new = last - #jobs, {}
  for i, job in ipairs(jobs) do
    local id, template = whole(number + i), job[3]
    if place("HSET", q.base .. id, "name", job[1], "data", job[2], "opts", template.opts, "timestamp", template.stamp,
      "delay", "0", "priority", "0") then
      emit_untrimmed(q, "added", id, "name", job[1])
      emit_untrimmed(q, "waiting", id)
      new[#new + 1] = id
      ids[#ids + 1] = id
    end
  end
  -- each of them would trim; once does as much
  trim_events(q)
  if #new > 0 then place("LPUSH", q.wait, unpack(new)) end
  mark_work(q)
end

-- A job from the opts that are stored with it.
local function job_from_opts(name, data, opts, id, now)
  local options = decode(opts)
  local deduplication = options.de
  if type(deduplication) ~= "table" or type(deduplication.id) ~= "string" then deduplication = nil end
  return {
    id = id, name = name, data = data, opts = opts, timestamp = now, delay = math.max(finite(options.delay) or 0, 0),
    priority = whole_number(options.priority) or 0, lifo = options.lifo == true, deduplication = deduplication,
  }
end

-- Why no job can be added to a queue, so that nothing is begun; nil if one can.
local function adding_trouble(q)
  local done, answer = pcall(check_keys, q)
  if not done then return message_of(answer) end
  local meta, numbers = type_of(q.meta), type_of(q.id)
  if meta and meta ~= "hash" then return q.meta .. " is a " .. meta end
  if numbers and not (numbers == "string" and whole_number(quietly("GET", q.id))) then return q.id .. " is no counter" end
  return nil
end

-- A finished job frees a deduplication id without a time-to-live, and the duplicate that was kept runs after it.
local function release_finished(q, deduplication, id, now)
  local key, kept_key = q.base .. "de:" .. deduplication, q.base .. "dn:" .. deduplication
  if (read("MGET", key) or {})[1] ~= id then
    return
  end
  local kept = quietly("HMGET", kept_key, "name", "data", "opts", "jid") or {}
  local is_kept = kept[1] and kept[2] and kept[3] and kept[4]
  if is_kept or (read("PTTL", key) or -1) <= 0 then
    write("DEL", key)
  end
  if is_kept and not adding_trouble(q) then
    write("DEL", kept_key)
    add_job(q, job_from_opts(kept[1], kept[2], kept[3], kept[4], now), now)
  end
end
