-- The outcomes of the children of a job. KEYS: the queue's base. ARGV: its id. Returns {key and JSON text of what it returned,
-- for each that completed}, {key and reason, for each whose failure its parent ignores}, {keys of those that failed and fail
-- their parent}, {keys of those that it waits for}.
-- include: queue

local key = KEYS[1] .. ARGV[1]
return {
  quietly("HGETALL", key .. ":processed") or {}, quietly("HGETALL", key .. ":failed") or {},
  quietly("ZRANGE", key .. ":unsuccessful", 0, -1) or {}, quietly("SMEMBERS", key .. ":dependencies") or {},
}
