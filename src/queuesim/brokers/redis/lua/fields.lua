-- What a worker is told of a job.
-- include: queue

-- How many fields are read of a job that is started for the first time, and where among them two are.
local FIRST_FIELDS, STARTED, DEFERRED_FAILURE = 12, 8, 9

-- The fields of a job in the order in which a worker is told of them; and behind them two that tell of earlier starts also
-- where attempts were reset.
local function read_first(key)
  return quietly("HMGET", key, "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "defa", "progress",
    "attemptsMade", "parentKey", "stacktrace", "stc")
end

-- Whether a job was started before, by what read_first gave.
local function was_started(fields)
  return fields[STARTED] or fields[FIRST_FIELDS + 1] or fields[FIRST_FIELDS + 2]
end

-- What a job can only have that was started before.
local LATER_FIELDS = 8
local function read_later(key)
  return quietly("HMGET", key, "processedOn", "pb", "stc", "finishedOn", "returnvalue", "failedReason", "stacktrace", "history")
end

-- All fields of a job and its id. Where its key is no hash, it has none of them.
local function read_fields(q, id)
  local key = q.base .. id
  local fields, later = read_first(key), read_later(key)
  if not fields or not later then
    fields, later = {}, {}
    for i = 1, FIRST_FIELDS do fields[i] = false end
    for i = 1, LATER_FIELDS do later[i] = false end
  end
  for i, value in ipairs(later) do fields[FIRST_FIELDS + i] = value end
  fields[FIRST_FIELDS + LATER_FIELDS + 1] = id
  return fields
end
