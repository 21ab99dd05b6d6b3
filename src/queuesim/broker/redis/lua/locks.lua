-- Locks: a string with the token of whoever holds the job, which expires.
-- include: queue

local JOB_MISSING, LOCK_MISSING, NOT_ACTIVE, LOCK_MISMATCH = -1, -2, -3, -6

-- Give a job back that `token` holds: out of active, no lock. Returns 0, or the error code of a refusal.
local function give_back(q, id, token)
  local key = q.base .. id
  local holder = call("GET", key .. ":lock")
  if holder ~= token then
    if call("EXISTS", key) == 0 then
      return JOB_MISSING
    end
    return holder and LOCK_MISMATCH or LOCK_MISSING
  end
  if call("EXISTS", key) == 0 then
    return JOB_MISSING
  end
  call("DEL", key .. ":lock")
  call("SREM", q.stalled, id)
  if call("LREM", q.active, -1, id) == 0 then
    return NOT_ACTIVE
  end
  return 0
end
