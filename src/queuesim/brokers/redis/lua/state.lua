-- Where a job is. KEYS: the queue's base. ARGV: its id. Returns the name of its state, or nothing.
-- include: queue, listing

return state_of(open_queue(KEYS[1]), ARGV[1]) or false
