-- Let delayed jobs run now, whatever their priority; their `delay` stays as it was (BullMQ 6.7). KEYS: the queue's base. ARGV: how many at once.
-- Returns how many.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
local ids = call("ZRANGE", q.delayed, 0, tonumber(ARGV[1]) - 1)
for _, id in ipairs(ids) do
  call("ZREM", q.delayed, id)
  call("LPUSH", q.wait, id)
  emit(q, "waiting", id, "prev", "delayed")
end
if #ids > 0 then
  mark_work(q)
end
return #ids
