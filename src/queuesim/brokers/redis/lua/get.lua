-- One job. KEYS: the queue's base. ARGV: its id. Returns its fields, id last; nothing if there is none.
-- include: queue, moves, fields

local q = open_queue(KEYS[1])
if call("EXISTS", q.base .. ARGV[1]) == 0 then
  return false
end
return read_fields(q, ARGV[1])
