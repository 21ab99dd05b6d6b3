-- Set or remove fields of meta. KEYS: the queue's base. ARGV: field and value, in pairs; "" removes a field.
-- include: queue, moves

local q = open_queue(KEYS[1])
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == "" then
    call("HDEL", q.meta, ARGV[i])
  else
    call("HSET", q.meta, ARGV[i], ARGV[i + 1])
  end
end
read_meta(q)
-- what held the workers may be over
if call("LLEN", q.wait) > 0 or call("ZCARD", q.prioritized) > 0 then
  mark_work(q)
end
return 0
