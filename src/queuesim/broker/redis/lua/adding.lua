-- Storing and enqueueing a job, duplicates, deduplication.
-- include: queue, moves, removal

-- A deduplication id is held until the owner finishes (nil), or for some ms. To keep the last duplicate it is held
-- until then, time-to-live or not (BullMQ 6.7).
local function hold_time(deduplication)
  if not deduplication.ttl or deduplication.ttl <= 0 or deduplication.keepLastIfActive then
    return nil
  end
  return deduplication.ttl
end

local function hold(q, deduplication, id, keep_ttl)
  local key, ttl = q.base .. "de:" .. deduplication.id, hold_time(deduplication)
  if ttl and keep_ttl and not deduplication.extend then
    if keep_ttl > 0 then
      call("SET", key, id, "PX", keep_ttl)
    else
      call("SET", key, id)
    end
  elseif ttl then
    call("SET", key, id, "PX", whole(ttl))
  else
    call("SET", key, id)
  end
end

-- What a duplicate still does: stay to run after its owner, extend the hold, or move its owner.
local function drop_duplicate(q, job, id, owner, now)
  local deduplication = job.deduplication
  local key = q.base .. "de:" .. deduplication.id
  if deduplication.keepLastIfActive and call("LPOS", q.active, owner) then
    call("HSET", q.base .. "dn:" .. deduplication.id, "name", job.name, "data", job.data, "opts", job.opts, "jid", id)
    call("PERSIST", key)
  elseif deduplication.replace then
    -- too late to replace it, and nobody is told (BullMQ 6.7)
    return
  elseif deduplication.extend and deduplication.ttl and deduplication.ttl > 0 then
    local ttl = hold_time(deduplication)
    if ttl then
      call("SET", key, owner, "PX", whole(ttl))
    else
      call("SET", key, owner)
    end
  end
  emit(q, "deduplicated", owner, "deduplicationId", deduplication.id, "deduplicatedJobId", id)
  if deduplication.reschedule and call("ZSCORE", q.delayed, owner) then
    call("HSET", q.base .. owner, "delay", job.delay)
    postpone(q, owner, job.timestamp + job.delay)
  end
end

-- The id of the job that stands for this one; nil if this one is to be added.
local function deduplicate(q, job, id, now)
  local deduplication = job.deduplication
  local key = q.base .. "de:" .. deduplication.id
  local owner = call("GET", key)
  if not owner then
    hold(q, deduplication, id)
    return nil
  end
  if deduplication.replace and call("ZSCORE", q.delayed, owner) then
    local ttl = call("PTTL", key)
    call("ZREM", q.delayed, owner)
    delete_keys(q, owner)
    call("DEL", key)
    emit(q, "removed", owner, "prev", "delayed")
    emit(q, "deduplicated", id, "deduplicationId", deduplication.id, "deduplicatedJobId", owner)
    hold(q, deduplication, id, ttl)
    return nil
  end
  if call("EXISTS", q.base .. owner) == 0 and call("PTTL", key) == -1 then
    -- the owner is gone without having freed it
    hold(q, deduplication, id)
    return nil
  end
  drop_duplicate(q, job, id, owner, now)
  return owner
end

-- Move the counter of ids on. Returns where it stands now. Every add sees to it that meta says how many events are kept.
local function take_numbers(q, count)
  if not q.knows_max_events then
    call("HSET", q.meta, "opts.maxLenEvents", MAX_EVENTS)
    q.knows_max_events = true
  end
  return call("INCRBY", q.id, count)
end

-- Add one job: {id or nil, name, data, opts, timestamp, delay, priority, lifo, deduplication or nil}, times in ms.
-- `deduplication_id` is only stored. Returns the id of the job that stands for it.
local function add_job(q, job, now)
  -- the counter moves on for duplicates too (BullMQ 6.7)
  local number = take_numbers(q, 1)
  local id = job.id or tostring(number)
  if job.id and call("EXISTS", q.base .. id) == 1 then
    emit(q, "duplicated", id)
    return id
  end
  if job.deduplication then
    local owner = deduplicate(q, job, id, now)
    if owner then
      return owner
    end
  end
  local fields = {
    "name", job.name, "data", job.data, "opts", job.opts, "timestamp", whole(job.timestamp), "delay", whole(job.delay),
    "priority", whole(job.priority),
  }
  local deduplication_id = job.deduplication_id or (job.deduplication and job.deduplication.id)
  if deduplication_id then
    fields[#fields + 1] = "deid"
    fields[#fields + 1] = deduplication_id
  end
  if job.parent_key then
    for _, word in ipairs({ "parentKey", job.parent_key, "parent", job.parent }) do fields[#fields + 1] = word end
  end
  call("HSET", q.base .. id, unpack(fields))
  emit_untrimmed(q, "added", id, "name", job.name)
  if job.parent_key then
    call("SADD", job.parent_key .. ":dependencies", q.base .. id)
  end
  if job.has_children then
    call("ZADD", q.children, whole(now), id)
    emit(q, "waiting-children", id)
  elseif job.delay > 0 then
    postpone(q, id, job.timestamp + job.delay)
  else
    enqueue(q, id, job.priority, job.lifo)
    emit(q, "waiting", id)
  end
  return id
end

-- Nothing of a job's options says how it is added.
local function is_plain(job)
  return job.delay == 0 and job.priority == 0 and not job.lifo and not job.deduplication
end

-- Add jobs with automatic ids, nothing of whose options says how: {name, data, template} each. Their ids go into `ids`.
local function add_plain_jobs(q, jobs, ids)
  local number = take_numbers(q, #jobs) - #jobs
  local new = {}
  for i, job in ipairs(jobs) do
    local id, template = tostring(number + i), job[3]
    call("HSET", q.base .. id, "name", job[1], "data", job[2], "opts", template.opts, "timestamp", template.stamp,
      "delay", "0", "priority", "0")
    emit_untrimmed(q, "added", id, "name", job[1])
    emit_untrimmed(q, "waiting", id)
    new[i] = id
    ids[#ids + 1] = id
  end
  -- each of them would trim; once does as much
  trim_events(q)
  call("LPUSH", q.wait, unpack(new))
  mark_work(q)
end

-- A job from the opts that are stored with it.
local function job_from_opts(name, data, opts, id, now)
  local options = decode(opts)
  return {
    id = id, name = name, data = data, opts = opts, timestamp = now, delay = tonumber(options.delay) or 0,
    priority = tonumber(options.priority) or 0, lifo = options.lifo == true, deduplication = options.de,
  }
end

-- A finished job frees a deduplication id without a time-to-live, and the duplicate that was kept runs after it.
local function release_finished(q, deduplication, id, now)
  local key, kept_key = q.base .. "de:" .. deduplication, q.base .. "dn:" .. deduplication
  if call("GET", key) ~= id then
    return
  end
  local kept = call("HMGET", kept_key, "name", "data", "opts", "jid")
  if kept[1] or call("PTTL", key) <= 0 then
    call("DEL", key)
  end
  if kept[1] then
    call("DEL", kept_key)
    add_job(q, job_from_opts(kept[1], kept[2], kept[3], kept[4], now), now)
  end
end
