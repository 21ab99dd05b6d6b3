-- Add a tree of jobs in one step: all or none. A parent comes before its children, and waits for them.
--
-- KEYS: the base of the root's queue. ARGV: now; then twelve for each job: its queue's base, id, name, data, opts, timestamp
-- ("": now), delay, priority, lifo ("1" or ""), its parent's key and its field `parent` ("" for the root), "1" if it has
-- children. Returns 0, or the place (from 1) of the first job whose id is taken.
-- include: queue, moves, adding

local now, WIDTH = tonumber(ARGV[1]), 12
for i = 2, #ARGV, WIDTH do
  if call("EXISTS", ARGV[i] .. ARGV[i + 1]) == 1 then
    return (i - 2) / WIDTH + 1
  end
end
local queues = {}
for i = 2, #ARGV, WIDTH do
  if not queues[ARGV[i]] then
    queues[ARGV[i]] = read_meta(open_queue(ARGV[i]))
    check_keys(queues[ARGV[i]])
  end
end
for i = 2, #ARGV, WIDTH do
  add_job(queues[ARGV[i]], {
    id = ARGV[i + 1], name = ARGV[i + 2], data = ARGV[i + 3], opts = ARGV[i + 4], timestamp = tonumber(ARGV[i + 5]) or now,
    delay = tonumber(ARGV[i + 6]), priority = tonumber(ARGV[i + 7]), lifo = ARGV[i + 8] == "1",
    parent_key = ARGV[i + 9] ~= "" and ARGV[i + 9] or nil, parent = ARGV[i + 10], has_children = ARGV[i + 11] == "1",
  }, now)
end
return finished(0)
