-- Finished jobs back to the queue. They leave what they were, not what they used up, unless attempts are reset.
-- include: queue, moves, removal

local RESULTS = { completed = "returnvalue", failed = "failedReason" }

-- A job that runs again needs its dead letter no more, if it is still there.
local function settle_letter(key)
  local letter = quietly("HGET", key, "letter")
  local base, id = (letter or ""):match("^(.*:)([^:]*)$")
  if not base then return end
  quietly("HDEL", key, "letter")
  local other = open_queue(base)
  if quietly("LPOS", other.wait, id) then
    delete_keys(other, id)
    place("LREM", other.wait, 1, id)
  end
end

local function forget_end(q, id, state, reset)
  local key = q.base .. id
  if state == "failed" then settle_letter(key) end
  quietly("HDEL", key, "finishedOn", "processedOn", RESULTS[state])
  if reset then
    quietly("HDEL", key, "atm", "ats")
  end
end
