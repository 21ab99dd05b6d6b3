-- What a handler writes into its job. KEYS: the queue's base. ARGV: what, job id, value, how many rows of a log to keep.
-- Returns -1 where there is no such job; for a log, its length.
-- include: queue

local q = read_meta(open_queue(KEYS[1]))
local what, id, value, keep = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = q.base .. id
if call("EXISTS", key) == 0 then
  return -1
end
if what == "data" then
  write("HSET", key, "data", value)
elseif what == "progress" then
  write("HSET", key, "progress", value)
  emit(q, "progress", id, "data", value)
else
  local rows = write("RPUSH", key .. ":logs", value)
  if keep and keep > 0 then
    write("LTRIM", key .. ":logs", -keep, -1)
    rows = math.min(rows, keep)
  end
  return finished(rows)
end
return finished(0)
