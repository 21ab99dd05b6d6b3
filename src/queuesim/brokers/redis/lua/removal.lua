-- Taking jobs away: their keys, their place in the lists, their deduplication ids.
-- include: queue

-- So many at once: a call takes only some thousand arguments.
local MANY = 1000
-- What stands in a list in place of jobs that are removed, until all of them are: to search the list for each would take as
-- long as the list is long, each time. Workers pass over it, as over BullMQ's old markers.
local GONE = "0:gone"
local KEYS_OF_A_JOB = { "", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" }
local JOBS_AT_ONCE = math.floor(MANY / #KEYS_OF_A_JOB)

-- Delete the keys of jobs, and then take them out of `set` if it is given: a key without a place would be a job in no state.
local function delete_many(q, ids, set)
  for at = 1, #ids, JOBS_AT_ONCE do
    local keys, last = {}, math.min(at + JOBS_AT_ONCE - 1, #ids)
    for i = at, last do
      local key = q.base .. ids[i]
      for _, suffix in ipairs(KEYS_OF_A_JOB) do keys[#keys + 1] = key .. suffix end
    end
    if place("DEL", unpack(keys)) and set then place("ZREM", set, unpack(ids, at, last)) end
  end
end

local function delete_keys(q, id)
  delete_many(q, { id })
end

-- Out of a list in which jobs are mostly near one of its ends: the whole of it is only searched for others.
local function take_out_of_list(list, id)
  local direction = read("LPOS", list, id, "MAXLEN", MANY) and 1 or -1
  return place("LREM", list, direction, id)
end

-- Out of whichever list the job stands in. Returns the name of its state as BullMQ's event has it, or nil.
local function take_out(q, id)
  if place("ZREM", q.completed, id) == 1 then return "completed" end
  if place("ZREM", q.failed, id) == 1 then return "failed" end
  if place("ZREM", q.delayed, id) == 1 then return "delayed" end
  if place("ZREM", q.prioritized, id) == 1 then return "prioritized" end
  if place("ZREM", q.children, id) == 1 then return "waiting-children" end
  if take_out_of_list(q.wait, id) == 1 then return "wait" end
  if place("LREM", q.active, 1, id) == 1 then
    write("SREM", q.stalled, id)
    return "active"
  end
  if quietly("LREM", q.paused, 1, id) == 1 then return "paused" end
  return nil
end

-- A removed job frees its deduplication id, time-to-live or not.
local function release_removed(q, id)
  local deduplication = quietly("HGET", q.base .. id, "deid")
  if deduplication and quietly("GET", q.base .. "de:" .. deduplication) == id then
    write("DEL", q.base .. "de:" .. deduplication, q.base .. "dn:" .. deduplication)
  end
end
