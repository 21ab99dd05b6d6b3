-- A page of the jobs of a state. KEYS: the queue's base. ARGV: state, index of the first, id before it ("" for the first page),
-- how many at most, "1" if ascending. Returns {their fields, id last; index of the first, 1 if the state ends with them}.
-- include: queue, moves, paging, fields

local q = open_queue(KEYS[1])
local page, first, done = page_of(q, ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5] == "1")
local jobs = {}
for i, id in ipairs(page) do jobs[i] = read_fields(q, id) end
return { jobs, first, done and 1 or 0 }
