-- Taking jobs away: their keys, their place in the lists, their deduplication ids.
-- include: queue

-- So many at once: a call takes only some thousand arguments.
local MANY = 1000
local KEYS_OF_A_JOB = { "", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" }

local function delete_many(q, ids)
  local keys = {}
  for i, id in ipairs(ids) do
    local key = q.base .. id
    for _, suffix in ipairs(KEYS_OF_A_JOB) do keys[#keys + 1] = key .. suffix end
    if #keys > MANY or i == #ids then
      call("DEL", unpack(keys))
      keys = {}
    end
  end
end

local function delete_keys(q, id)
  delete_many(q, { id })
end

-- Out of whichever list the job stands in. Returns the name of its state as BullMQ's event has it, or nil.
local function take_out(q, id)
  if call("ZREM", q.completed, id) == 1 then return "completed" end
  if call("ZREM", q.failed, id) == 1 then return "failed" end
  if call("ZREM", q.delayed, id) == 1 then return "delayed" end
  if call("ZREM", q.prioritized, id) == 1 then return "prioritized" end
  if call("ZREM", q.children, id) == 1 then return "waiting-children" end
  if call("LREM", q.wait, 1, id) == 1 then return "wait" end
  if call("LREM", q.active, 1, id) == 1 then
    call("SREM", q.stalled, id)
    return "active"
  end
  return nil
end

-- A removed job frees its deduplication id, time-to-live or not.
local function release_removed(q, id)
  local deduplication = call("HGET", q.base .. id, "deid")
  if deduplication and call("GET", q.base .. "de:" .. deduplication) == id then
    call("DEL", q.base .. "de:" .. deduplication, q.base .. "dn:" .. deduplication)
  end
end

local function remove_members(set, ids)
  for i = 1, #ids, MANY do
    call("ZREM", set, unpack(ids, i, math.min(i + MANY - 1, #ids)))
  end
end

-- What retention no longer keeps. Evicted jobs freed their deduplication ids when they finished.
local function evict(q, set, keep, now)
  if keep.age then
    local old = call("ZREVRANGEBYSCORE", set, now - keep.age * 1000, "-inf", "LIMIT", 0, keep.limit or 1000)
    delete_many(q, old)
    remove_members(set, old)
  end
  if keep.count and keep.count > 0 then
    local surplus = call("ZREVRANGE", set, keep.count, -1)
    delete_many(q, surplus)
    if #surplus > 0 then call("ZREMRANGEBYRANK", set, 0, -(keep.count + 1)) end
  end
end
