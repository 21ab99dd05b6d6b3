-- Remove a scheduler and its pending job. KEYS: the queue's base. ARGV: its id. Returns 1, or 0: there is none.
-- include: scheduling

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local set, hash = scheduler_keys(q, ARGV[1])
remove_pending(q, ARGV[1])
write("ZREM", set, ARGV[1])
return finished(write("DEL", hash))
