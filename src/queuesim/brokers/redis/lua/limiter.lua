-- The limiter: a counter of starts that expires. Its window is fixed and opens with the first start after the last one.
-- include: queue

-- What a manual rate limit sets the counter to, above any max: 2^53 - 1.
local MANUAL = "9007199254740991"

-- Of a shared limit the max goes first, of a worker's own the duration (BullMQ 6.7).
local function limits(q, own_max, own_duration)
  return q.max or own_max, own_duration or q.duration
end

-- Milliseconds until a start is free; 0 if one is now. Also how many starts are left now, where a window is open.
local function wait_for_start(q, max)
  -- MGET has no error for a key of another type
  local count = whole_number((read("MGET", q.limiter) or {})[1])
  if not count then
    return 0, max
  end
  local ttl = read("PTTL", q.limiter) or -1
  if ttl == 0 then
    write("DEL", q.limiter)
    return 0, max
  end
  if count < max then
    return 0, max - count
  end
  -- a counter that never expires limits nobody (BullMQ 6.7)
  return ttl > 0 and ttl or 0, math.huge
end

-- Count starts. Returns true if they opened a window.
local function count_starts(q, starts, duration)
  local counted = quietly("INCRBY", q.limiter, starts)
  if not counted then
    -- it was no counter
    write("SET", q.limiter, starts)
    counted = starts
  end
  if counted == starts then
    write("PEXPIRE", q.limiter, whole(math.floor(math.abs(duration or 0))))
    return true
  end
  return false
end

local function hold_starts(q, duration)
  if duration > 0 then
    write("SET", q.limiter, MANUAL, "PX", whole(duration))
  else
    write("DEL", q.limiter)
  end
end
