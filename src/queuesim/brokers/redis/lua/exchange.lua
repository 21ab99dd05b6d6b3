-- Hand in outcomes, promote what is due, take jobs and lock them.
--
-- KEYS: the queue's base. ARGV: now, token, lock ms, limiter max, limiter duration, worker, take, again ("1" or "");
-- then ten for each outcome: kind, job id, token, attempts started, attempts made, four that depend on the kind, and a row
-- for the job's log or "".
-- Returns {ms for which the queue is rate-limited or -1, when the next job is due or -1, duration of the limiter window
-- that was opened or -1, its max, {index, code, ...} of refused outcomes, jobs, the first error after which it went on or ""}.
-- Times are in ms.
-- include: queue, moves, settling, taking

local q = read_meta(open_queue(KEYS[1]))
local now, token, again = tonumber(ARGV[1]), ARGV[2], ARGV[8] == "1"
local terms = {
  token = token, lock = ARGV[3], max = tonumber(ARGV[4]), duration = tonumber(ARGV[5]), worker = ARGV[6],
  take = tonumber(ARGV[7]), now = ARGV[1],
}
q.now = ARGV[1]
local FIRST, WIDTH = 9, 10

if #ARGV >= FIRST and not again then
  -- outcomes trim the events and then take the first job out of active, and nothing is lost if either fails
  check_sets(q)
  call("LLEN", q.wait)
else
  check_keys(q)
end
local refused, all_ended, limited = {}, false, nil
if #ARGV >= FIRST then
  local last
  refused, last = apply_all(q, now, token, again, FIRST, WIDTH)
  -- only the last outcome can leave the queue empty
  all_ended = last == "C" or last == "F"
  if q.returned then
    -- whoever is rate-limited by its handler holds, even without a limiter of its own
    local ttl = read("PTTL", q.limiter) or -1
    limited = ttl > 0 and ttl or nil
  end
end

local taken, opened, wants_due = {}, false, false
if again then
  exceptions.retake(q, terms, taken)
end
local before = #taken
if terms.take > 0 and not limited then
  limited, wants_due, opened = take(q, terms, now, taken)
end
if #taken > before then
  -- one idle worker after another looks whether there is more (BullMQ 6.7)
  write("ZADD", q.marker, "0", "0")
elseif q.max_active and #ARGV >= FIRST and has_work(q) then
  -- what held the others may be over
  mark_work(q)
end

local due = wants_due and next_due(q)
if all_ended and #taken == 0 and not has_work(q) and read("LLEN", q.active) == 0 then
  -- whoever asked for more and is told to come back later is not told so (BullMQ 6.7)
  if terms.take == 0 or not (limited or due or q.is_paused) then
    emit_of_queue(q, "drained")
  end
end

local max, duration = limits(q, terms.max, terms.duration)
return { limited or -1, due and math.floor(due) or -1, opened and duration or -1, max or 0, refused, taken,
  fault or "" }
