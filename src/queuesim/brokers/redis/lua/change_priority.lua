-- Give a job that waits a new priority; any other job only remembers it. KEYS: the queue's base. ARGV: its id, the
-- priority, "1" to go in front of its new neighbours. Returns 0, -1: there is no such job.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local id, priority, lifo = ARGV[1], tonumber(ARGV[2]), ARGV[3] == "1"
if call("EXISTS", q.base .. id) == 0 then return -1 end
write("HSET", q.base .. id, "priority", ARGV[2])
if place("LREM", q.wait, 1, id) == 1 or place("ZREM", q.prioritized, id) == 1 then
  if priority > 0 and lifo then
    put_in_front(q, id, priority)
  else
    enqueue(q, id, priority, lifo)
  end
end
return finished(0)
