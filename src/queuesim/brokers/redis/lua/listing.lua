-- Where the jobs of a state are, in the order in which they run, or finished.
-- include: queue

local LISTS = { waiting = "wait", paused = "paused", active = "active" }
local SETS = {
  prioritized = "prioritized", delayed = "delayed", completed = "completed", failed = "failed",
  ["waiting-children"] = "children",
}

-- Ids of a state from `first` to `last` inclusive (-1: the last one), the first to run, or to have finished, first if
-- ascending. Lists have it at their right end.
local function ids_of(q, state, first, last, ascending)
  if SETS[state] then
    return call(ascending and "ZRANGE" or "ZREVRANGE", q[SETS[state]], first, last)
  end
  local key = q[LISTS[state]]
  if not ascending then
    return call("LRANGE", key, first, last)
  end
  local found = call("LRANGE", key, last == -1 and 0 or -(last + 1), -(first + 1))
  local ids = {}
  for i = #found, 1, -1 do ids[#ids + 1] = found[i] end
  return ids
end

local function state_of(q, id)
  if call("ZSCORE", q.completed, id) then return "completed" end
  if call("ZSCORE", q.failed, id) then return "failed" end
  if call("ZSCORE", q.delayed, id) then return "delayed" end
  if call("ZSCORE", q.prioritized, id) then return "prioritized" end
  if call("ZSCORE", q.children, id) then return "waiting-children" end
  if call("LPOS", q.wait, id) or call("LPOS", q.paused, id) then return "waiting" end
  if call("LPOS", q.active, id) then return "active" end
  return nil
end
