-- The limiter by hand. KEYS: the queue's base. ARGV: what, and its argument.
-- hold MS: no start for so long. clear: forget the window. ttl MAX: ms until a start is free ("": as meta has it).
-- include: queue, moves, limiter

local q = read_meta(open_queue(KEYS[1]))
if ARGV[1] == "hold" then
  hold_starts(q, tonumber(ARGV[2]))
  return finished(0)
end
if ARGV[1] == "clear" then
  write("DEL", q.limiter)
  if has_work(q) then
    mark_work(q)
  end
  return finished(0)
end
return (wait_for_start(q, tonumber(ARGV[2]) or q.max or 1))
