-- Finished jobs back to the queue. They leave what they were, not what they used up, unless attempts are reset.
-- include: queue, moves

local RESULTS = { completed = "returnvalue", failed = "failedReason" }

local function forget_end(q, id, state, reset)
  local key = q.base .. id
  quietly("HDEL", key, "finishedOn", "processedOn", RESULTS[state])
  if reset then
    quietly("HDEL", key, "atm", "ats")
  end
end
