-- Taking jobs: which are next, and what a start writes.
-- include: queue, moves, limiter, fields
-- rarely: exceptions

-- A call takes only some thousand arguments.
local TAKEN_AT_ONCE = 1000

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

-- Lock a job and note its start. Returns what the worker is told, its id last; nil where there is only an id and no job.
local function start(q, id, terms, now)
  local key = q.base .. id
  local fields = read_first(key)
  if not fields then
    exceptions.fail_without_hash(q, id, now)
    return nil
  end
  if not fields[1] and read("EXISTS", key) == 0 then
    place("LREM", q.active, 1, id)
    return nil
  end
  local started = "1"
  if was_started(fields) then
    fields = read_fields(q, id)
    fields[FIRST_FIELDS + 1] = terms.now
    if terms.worker ~= "" then fields[FIRST_FIELDS + 2] = terms.worker end
    started = exceptions.count_start(fields)
  else
    fields[STARTED] = started
    fields[FIRST_FIELDS + 1], fields[FIRST_FIELDS + 2] = id, nil
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
