-- A queue's keys, what its meta hash says, and its event stream.
--
-- Redis rolls nothing back. So a script reads and checks before its first write, where an error ends it and changes nothing
-- (`call`, `read`, the first `write`). From its first write on nothing ends it: what fails is noted, and the rest is done.

local call = redis.call

-- Whether the script has written, and the first error since then.
local written, fault = false, nil

local function message_of(answer)
  -- Redis 7 raises tables, older ones text
  return type(answer) == "table" and (answer.err or "error") or tostring(answer)
end

-- A command whose failure concerns nothing but what it is about, such as a job with a key of a foreign type. nil: it failed.
local function quietly(...)
  local done, answer = pcall(call, ...)
  if done then return answer end
  return nil
end

-- Look at a key of the queue. nil if that failed after the first write.
local function read(...)
  if not written then return call(...) end
  local done, answer = pcall(call, ...)
  if done then return answer end
  fault = fault or message_of(answer)
  return nil
end

-- Change a key of the queue. nil if that failed, which only the first write of a script may say by an error.
local function write(...)
  if not written then
    local answer = call(...)
    written = true
    return answer
  end
  local done, answer = pcall(call, ...)
  if done then return answer end
  fault = fault or message_of(answer)
  return nil
end

-- Put a job where it belongs, or take it from there: once more if it failed, for half of a move loses the job.
local function place(...)
  if not written then return write(...) end
  local done, answer = pcall(call, ...)
  if done then return answer end
  fault = fault or message_of(answer)
  return quietly(...)
end

-- What a script answers: an error if anything failed after its first write.
local function finished(answer)
  if fault then return { err = "ERR done but for this: " .. fault } end
  return answer
end

-- Events that a stream keeps, roughly, where meta says nothing else (BullMQ 6.7).
local MAX_EVENTS = 10000

local function open_queue(base)
  return {
    base = base,
    id = base .. "id",
    meta = base .. "meta",
    wait = base .. "wait",
    -- where BullMQ 5 keeps what waits while it has paused the queue
    paused = base .. "paused",
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
    -- what read_meta says: named here, so that the table is made large enough at once
    is_paused = false, knows_max_events = false, max_events = MAX_EVENTS,
  }
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

-- Any number of a size that times and durations have; nil for anything else.
local function finite(value)
  if type(value) ~= "string" and type(value) ~= "number" then return nil end
  local number = tonumber(value)
  if number and number > -LARGEST and number < LARGEST then return number end
  return nil
end

local function read_meta(q)
  local meta = read("HMGET", q.meta, "paused", "concurrency", "max", "duration", "opts.maxLenEvents") or {}
  -- only whether it is there counts
  q.is_paused = (meta[1] or false) ~= false
  q.max_active = whole_number(meta[2])
  q.max = whole_number(meta[3])
  q.duration = finite(meta[4])
  q.max_events = whole_number(meta[5])
  q.knows_max_events = q.max_events ~= nil
  q.max_events = q.max_events or MAX_EVENTS
  return q
end

-- The type of a key; nil if there is no such key, or if that can't be known.
local function type_of(key)
  local found = quietly("TYPE", key)
  if type(found) == "table" then found = found.ok end
  if found == "none" then return nil end
  return found
end

-- See that the sets that hold jobs are sets; raises if one is not. An intersection with nothing looks at the type of each and
-- at none of its members.
local function check_sets(q)
  call("ZINTER", 8, q.base .. "none", q.delayed, q.prioritized, q.completed, q.failed, q.children, q.marker, q.stalled)
end

-- See that all keys that hold jobs, and the events, are of their types; raises if one is not. Once for each queue: nobody else
-- writes while a script runs.
local checked = {}
local function check_keys(q)
  if checked[q.base] then return end
  check_sets(q)
  call("LLEN", q.wait)
  call("LLEN", q.active)
  call("XLEN", q.events)
  checked[q.base] = true
end

-- JSON that another program may have written: where it is none, or no object or list, an empty one. A script that failed
-- half-way would leave half of its work behind.
local function decode(text)
  local readable, value = pcall(cjson.decode, text)
  return readable and type(value) == "table" and value or {}
end

-- A whole number as text: Lua's own `..` shortens what has more than 14 digits.
local function whole(number)
  return string.format("%.0f", number)
end

local function emit(q, event, id, ...)
  write("XADD", q.events, "MAXLEN", "~", q.max_events, "*", "event", event, "jobId", id, ...)
end

-- Events that do not trim the stream: added, active, completed, failed, stalled (BullMQ 6.7).
local function emit_untrimmed(q, event, id, ...)
  if not written then return write("XADD", q.events, "*", "event", event, "jobId", id, ...) end
  -- as `write` does it: each exchange emits so, and one call less is felt
  local done, answer = pcall(call, "XADD", q.events, "*", "event", event, "jobId", id, ...)
  if not done then fault = fault or message_of(answer) end
end

local function emit_of_queue(q, event, ...)
  write("XADD", q.events, "MAXLEN", "~", q.max_events, "*", "event", event, ...)
end

local function trim_events(q)
  write("XTRIM", q.events, "MAXLEN", "~", q.max_events)
end

-- What few calls need is defined at the first use: to define all of it costs the server more than the commands of a call.
local function rarely(define)
  return setmetatable({}, {
    __index = function(functions, name)
      local defined = define()
      for each, value in pairs(defined) do functions[each] = value end
      return defined[name]
    end,
  })
end
