-- A queue's keys, what its meta hash says, and its event stream.

local call = redis.call

-- Events that a stream keeps, roughly, where meta says nothing else (BullMQ 6.7).
local MAX_EVENTS = 10000

local function open_queue(base)
  return {
    base = base,
    id = base .. "id",
    meta = base .. "meta",
    wait = base .. "wait",
    active = base .. "active",
    prioritized = base .. "prioritized",
    priority_counter = base .. "pc",
    delayed = base .. "delayed",
    completed = base .. "completed",
    failed = base .. "failed",
    children = base .. "waiting-children",
    marker = base .. "marker",
    stalled = base .. "stalled",
    limiter = base .. "limiter",
    events = base .. "events",
  }
end

local function read_meta(q)
  local meta = call("HMGET", q.meta, "paused", "concurrency", "max", "duration", "opts.maxLenEvents")
  -- only whether it is there counts
  q.is_paused = meta[1] ~= false
  q.max_active = tonumber(meta[2])
  q.max = tonumber(meta[3])
  q.duration = tonumber(meta[4])
  q.max_events = tonumber(meta[5])
  q.knows_max_events = q.max_events ~= nil
  q.max_events = q.max_events or MAX_EVENTS
  return q
end

-- JSON that another program may have written: where it is none, or no object or list, an empty one. A script that failed
-- half-way would leave half of its work behind.
local function decode(text)
  local readable, value = pcall(cjson.decode, text)
  return readable and type(value) == "table" and value or {}
end

-- A whole number from 0 on, small enough to be exact, whoever wrote it and whatever it is: text of a hash's field, or a
-- value of JSON. nil for anything else. (Lua reads "nan", "inf" and "0x10" as numbers, too.)
local LARGEST = 9007199254740992
local function whole_number(value)
  if type(value) == "string" then
    if not string.find(value, "^%d+$") then return nil end
  elseif type(value) ~= "number" then
    return nil
  end
  local number = tonumber(value)
  if number >= 0 and number < LARGEST and number % 1 == 0 then return number end
  return nil
end

-- A whole number as text: Lua's own `..` shortens what has more than 14 digits.
local function whole(number)
  return string.format("%.0f", number)
end

local function emit(q, event, id, ...)
  call("XADD", q.events, "MAXLEN", "~", q.max_events, "*", "event", event, "jobId", id, ...)
end

-- Events that do not trim the stream: added, active, completed, failed, stalled (BullMQ 6.7).
local function emit_untrimmed(q, event, id, ...)
  call("XADD", q.events, "*", "event", event, "jobId", id, ...)
end

local function emit_of_queue(q, event, ...)
  call("XADD", q.events, "MAXLEN", "~", q.max_events, "*", "event", event, ...)
end

local function trim_events(q)
  call("XTRIM", q.events, "MAXLEN", "~", q.max_events)
end
