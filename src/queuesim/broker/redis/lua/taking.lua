-- Taking jobs: which are next, and what a start writes.
-- include: queue, moves, limiter

-- What a worker is told of a job, behind its id and in this order.
local FIELDS = {
  "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "processedOn", "pb", "stc", "finishedOn",
  "returnvalue", "failedReason", "defa", "stacktrace", "history", "progress", "attemptsMade",
}
-- A call takes only some thousand arguments.
local TAKEN_AT_ONCE = 1000
local STARTED, PROCESSED_ON, PROCESSED_BY, DEFERRED_FAILURE = 8, 9, 10, 15

local function read_fields(q, id)
  return call("HMGET", q.base .. id, unpack(FIELDS))
end

-- Up to `count` ids, the next to start first. wait goes before prioritized, always.
local function pop_next(q, count)
  local ids = {}
  while #ids < count do
    local popped = call("RPOP", q.wait, count - #ids)
    if not popped or #popped == 0 then break end
    for _, id in ipairs(popped) do
      -- BullMQ before version 5 kept its marker in the list
      if string.sub(id, 1, 2) ~= "0:" then ids[#ids + 1] = id end
    end
  end
  if #ids < count then
    local popped = call("ZPOPMIN", q.prioritized, count - #ids)
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    if #ids < count then call("DEL", q.priority_counter) end
  end
  return ids
end

-- Lock a job and note its start. Returns what the worker is told; nil where there is only an id and no job.
local function start(q, id, terms, now)
  local key = q.base .. id
  local fields = read_fields(q, id)
  if not fields[1] and call("EXISTS", key) == 0 then
    call("LREM", q.active, 1, id)
    return nil
  end
  call("SET", key .. ":lock", terms.token, "PX", terms.lock)
  emit_untrimmed(q, "active", id, "prev", "waiting")
  local started = (tonumber(fields[STARTED]) or 0) + 1
  fields[STARTED] = tostring(started)
  fields[PROCESSED_ON] = whole(now)
  if terms.worker ~= "" then
    fields[PROCESSED_BY] = terms.worker
    call("HSET", key, "processedOn", whole(now), "ats", started, "pb", terms.worker)
  else
    call("HSET", key, "processedOn", whole(now), "ats", started)
  end
  fields[#FIELDS + 1] = id
  return fields
end

-- Start a batch. Returns how many of the starts count for the limiter: a job that is to fail at once does not.
local function start_batch(q, ids, terms, now, taken)
  call("LPUSH", q.active, unpack(ids))
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
      room = math.min(room, q.max_active - call("LLEN", q.active))
      if room <= 0 then
        return nil, true, opened
      end
    end
    local ids = pop_next(q, room)
    if #ids == 0 then
      return nil, true, opened
    end
    local counted = start_batch(q, ids, terms, now, taken)
    if max and counted > 0 and count_starts(q, counted, duration) then opened = true end
  end
  return nil, false, opened
end

-- The jobs that the lost answer to this exchange carried, the first to start first.
local function retake(q, terms, taken)
  local active = call("LRANGE", q.active, 0, -1)
  for i = #active, 1, -1 do
    local id = active[i]
    local lock = q.base .. id .. ":lock"
    if call("GET", lock) == terms.token then
      call("SET", lock, terms.token, "PX", terms.lock)
      call("SREM", q.stalled, id)
      local fields = read_fields(q, id)
      fields[#FIELDS + 1] = id
      taken[#taken + 1] = fields
    end
  end
end
