-- The jobs of a state. KEYS: the queue's base. ARGV: state, first, last, "1" if ascending. Returns their fields, id last.
-- include: queue, moves, listing, taking

local q = open_queue(KEYS[1])
local jobs = {}
for _, id in ipairs(ids_of(q, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == "1")) do
  jobs[#jobs + 1] = read_fields(q, id)
end
return jobs
