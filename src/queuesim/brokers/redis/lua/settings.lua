-- Set or remove fields of meta. KEYS: the queue's base. ARGV: field and value, in pairs; "" removes a field.
-- include: queue, moves

local q = open_queue(KEYS[1])
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == "" then
    write("HDEL", q.meta, ARGV[i])
  else
    write("HSET", q.meta, ARGV[i], ARGV[i + 1])
  end
end
read_meta(q)
-- what held the workers may be over
if has_work(q) then
  mark_work(q)
end
return finished(0)
