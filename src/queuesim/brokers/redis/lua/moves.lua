-- The moves that every operation is made of: into wait, prioritized and delayed, and the markers that wake workers.
-- include: queue

-- 2^32: a priority is the upper part of a score, a counter the lower.
local PRIORITY_STEP = 4294967296
-- Delayed jobs that share a millisecond, at most, in their order.
local SCORES_A_MILLISECOND = 4096
-- Delayed jobs promoted at one time, at most.
local PROMOTED_AT_ONCE = 1000

local function is_blocked(q)
  return q.is_paused or (q.max_active ~= nil and (read("LLEN", q.active) or 0) >= q.max_active)
end

local function mark_work(q)
  if not is_blocked(q) then
    write("ZADD", q.marker, "0", "0")
  end
end

-- Whether jobs wait to be taken.
local function has_work(q)
  return (read("LLEN", q.wait) or 0) > 0 or (read("ZCARD", q.prioritized) or 0) > 0
end

-- When the first delayed job is due, in ms; nil if there is none.
local function next_due(q)
  local first = read("ZRANGE", q.delayed, 0, 0, "WITHSCORES")
  local score = first and finite(first[2])
  return score and score / SCORES_A_MILLISECOND
end

-- Written while the queue is paused, too.
local function mark_delay(q)
  local due = next_due(q)
  if due then
    write("ZADD", q.marker, due, "1")
  end
end

local function prioritize(q, id, priority)
  local counter = quietly("INCR", q.priority_counter)
  if not counter then
    -- it was no number: it only counts since nothing was prioritized
    counter = 1
    quietly("SET", q.priority_counter, counter)
  end
  place("ZADD", q.prioritized, priority * PRIORITY_STEP + counter % PRIORITY_STEP, id)
end

-- Let a job run: at the end of wait (at its front if lifo), or among the prioritized.
local function enqueue(q, id, priority, lifo)
  if priority > 0 then
    prioritize(q, id, priority)
  else
    place(lifo and "RPUSH" or "LPUSH", q.wait, id)
  end
  mark_work(q)
end

-- In front of all jobs of its own priority. Only wait is marked (BullMQ 6.7).
local function put_in_front(q, id, priority)
  if priority > 0 then
    place("ZADD", q.prioritized, priority * PRIORITY_STEP, id)
  else
    place("RPUSH", q.wait, id)
    mark_work(q)
  end
end

-- Where a job that is due at `due` ms goes among the delayed: behind those of the same millisecond.
local function delayed_score(q, due)
  local first = due * SCORES_A_MILLISECOND
  local last = first + SCORES_A_MILLISECOND - 1
  local taken = read("ZREVRANGEBYSCORE", q.delayed, last, first, "WITHSCORES", "LIMIT", 0, 1)
  if taken and taken[2] then
    return math.min(tonumber(taken[2]) + 1, last)
  end
  return first
end

local function postpone(q, id, due)
  place("ZADD", q.delayed, delayed_score(q, due), id)
  emit(q, "delayed", id, "delay", whole(due))
  mark_delay(q)
end

-- The job's priority; 0 where it has none, or none that can be read: whoever takes the job will say so.
local function priority_of(q, id)
  return whole_number(quietly("HGET", q.base .. id, "priority")) or 0
end

-- Let run what is due, the earliest first. lifo counts no more here (BullMQ 6.7).
local function promote_due(q, now)
  local last = (now + 1) * SCORES_A_MILLISECOND - 1
  local due = read("ZRANGEBYSCORE", q.delayed, 0, last, "LIMIT", 0, PROMOTED_AT_ONCE)
  if not due or #due == 0 or not place("ZREM", q.delayed, unpack(due)) then
    return
  end
  for _, id in ipairs(due) do
    enqueue(q, id, priority_of(q, id), false)
    quietly("HSET", q.base .. id, "delay", 0)
    emit(q, "waiting", id, "prev", "delayed")
  end
end
