-- Taking jobs: which are next, and what a start writes.
-- include: queue, moves, limiter

-- What a worker is told of a job that it starts, in this order.
local FIELDS = {
  "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa", "progress", "attemptsMade",
  "parentKey",
}
-- What a job can only have that was started before.
local LATER_FIELDS = {
  "processedOn", "pb", "stc", "finishedOn", "returnvalue", "failedReason", "stacktrace", "history",
}
-- A call takes only some thousand arguments.
local TAKEN_AT_ONCE = 1000
local STARTED, DEFERRED_FAILURE = 8, 9

-- All fields of a job and its id. Where its key is no hash, it has none of them.
local function read_fields(q, id)
  local key = q.base .. id
  local fields, later = quietly("HMGET", key, unpack(FIELDS)), quietly("HMGET", key, unpack(LATER_FIELDS))
  if not fields or not later then
    fields, later = {}, {}
    for i = 1, #FIELDS do fields[i] = false end
    for i = 1, #LATER_FIELDS do later[i] = false end
  end
  for i, value in ipairs(later) do fields[#FIELDS + i] = value end
  fields[#FIELDS + #LATER_FIELDS + 1] = id
  return fields
end

-- Up to `count` ids, the next to start first. wait goes before prioritized, always.
local function pop_next(q, count)
  local ids = {}
  while #ids < count do
    local popped = write("RPOP", q.wait, count - #ids)
    if not popped or #popped == 0 then break end
    for _, id in ipairs(popped) do
      -- BullMQ before version 5 kept its marker in the list
      if string.sub(id, 1, 2) ~= "0:" then ids[#ids + 1] = id end
    end
  end
  if #ids < count then
    local popped = write("ZPOPMIN", q.prioritized, count - #ids) or {}
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    if #ids < count then write("DEL", q.priority_counter) end
  end
  return ids
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
  if not fields[STARTED] then return "1" end
  local before = whole_number(fields[STARTED])
  if before then
    fields[STARTED] = whole(before + 1)
    return fields[STARTED]
  end
  -- what is no count begins anew; the worker gets it marked, so that it can say so
  fields[STARTED] = "?" .. fields[STARTED]
  return "1"
end

-- Lock a job and note its start. Returns what the worker is told, its id last; nil where there is only an id and no job.
local function start(q, id, terms, now)
  local key = q.base .. id
  -- FIELDS, not unpacked: this is done for every job
  local fields = quietly("HMGET", key, "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa",
    "progress", "attemptsMade", "parentKey")
  if not fields then
    fail_without_hash(q, id, now)
    return nil
  end
  if not fields[1] and read("EXISTS", key) == 0 then
    place("LREM", q.active, 1, id)
    return nil
  end
  local started = "1"
  if fields[STARTED] then
    fields = read_fields(q, id)
    fields[#FIELDS + 1] = terms.now
    if terms.worker ~= "" then fields[#FIELDS + 2] = terms.worker end
    started = count_start(fields)
  else
    fields[STARTED] = started
    fields[#FIELDS + 1] = id
  end
  -- without a lock it is nobody's: the stalled check will bring it back
  if not place("SET", key .. ":lock", terms.token, "PX", terms.lock) then return nil end
  emit_untrimmed(q, "active", id, "prev", "waiting")
  if terms.worker ~= "" then
    write("HSET", key, "processedOn", terms.now, "ats", started, "pb", terms.worker)
  else
    write("HSET", key, "processedOn", terms.now, "ats", started)
  end
  return fields
end

-- Start a batch. Returns how many of the starts count for the limiter: a job that is to fail at once does not. nil: the batch
-- could not be started, and is back in wait.
local function start_batch(q, ids, terms, now, taken)
  if not place("LPUSH", q.active, unpack(ids)) then
    local back = {}
    for i = #ids, 1, -1 do back[#back + 1] = ids[i] end
    place("RPUSH", q.wait, unpack(back))
    return nil
  end
  local counted = 0
  for _, id in ipairs(ids) do
    local job = start(q, id, terms, now)
    if job then
      taken[#taken + 1] = job
      if not job[DEFERRED_FAILURE] then counted = counted + 1 end
    end
  end
  return counted
end

-- Take up to `terms.take` jobs into `taken`. Returns ms for which the queue is rate-limited (or nil), and whether it may
-- have delayed jobs that a worker should come back for; a third value tells that a limiter window was opened.
local function take(q, terms, now, taken)
  -- the order of these checks is BullMQ's: promote, limiter, pause
  promote_due(q, now)
  local max, duration = limits(q, terms.max, terms.duration)
  local opened = false
  while #taken < terms.take do
    local room = math.min(terms.take - #taken, TAKEN_AT_ONCE)
    if max then
      local ttl, left = wait_for_start(q, max)
      if ttl > 0 then
        return ttl, false, opened
      end
      room = math.min(room, left)
    end
    if q.is_paused then
      return nil, true, opened
    end
    if q.max_active then
      room = math.min(room, q.max_active - (read("LLEN", q.active) or q.max_active))
      if room <= 0 then
        return nil, true, opened
      end
    end
    local ids = pop_next(q, room)
    if #ids == 0 then
      return nil, true, opened
    end
    local counted = start_batch(q, ids, terms, now, taken)
    if not counted then
      return nil, true, opened
    end
    if max and counted > 0 and count_starts(q, counted, duration) then opened = true end
  end
  return nil, false, opened
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
