-- Let delayed jobs run now, whatever their priority; their `delay` stays as it was (BullMQ 6.7). KEYS: the queue's base. ARGV: how many at once.
-- Returns how many.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local ids = call("ZRANGE", q.delayed, 0, tonumber(ARGV[1]) - 1)
for _, id in ipairs(ids) do
  if place("ZREM", q.delayed, id) then
    place("LPUSH", q.wait, id)
    emit(q, "waiting", id, "prev", "delayed")
  end
end
if #ids > 0 then
  mark_work(q)
end
return finished(#ids)
