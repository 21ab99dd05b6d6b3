-- How many jobs are in each state. KEYS: the queue's base. Returns numbers: waiting, prioritized, delayed, active,
-- completed, failed, waiting-children.
-- include: queue

local q = open_queue(KEYS[1])
return {
  call("LLEN", q.wait), call("ZCARD", q.prioritized), call("ZCARD", q.delayed), call("LLEN", q.active),
  call("ZCARD", q.completed), call("ZCARD", q.failed), call("ZCARD", q.children),
}
