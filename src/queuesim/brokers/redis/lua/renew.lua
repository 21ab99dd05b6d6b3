-- Extend locks. KEYS: the queue's base. ARGV: duration in ms; then job id and token, in pairs.
-- Returns the ids of those that were lost.
-- include: queue

local q = open_queue(KEYS[1])
local lost = {}
for i = 2, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local lock = q.base .. id .. ":lock"
  -- MGET has no error for a key of another type
  if (read("MGET", lock) or {})[1] == token then
    write("SET", lock, token, "PX", ARGV[1])
    write("SREM", q.stalled, id)
  else
    lost[#lost + 1] = id
  end
end
return finished(lost)
