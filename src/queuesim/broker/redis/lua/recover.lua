-- The stalled check: at most one per interval for the whole queue. Jobs that were active at the last check and have no
-- lock now go to the front of wait. KEYS: the queue's base. ARGV: now, interval in ms, stalls allowed.
-- Returns the ids of the jobs that had stalled.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
-- so many are taken out of the list of active jobs one by one; so many ids go into one command
local FEW, MANY = 50, 5000
local recovered, removed = {}, {}
if call("EXISTS", q.base .. "stalled-check") == 1 then
  return recovered
end
call("SET", q.base .. "stalled-check", ARGV[1], "PX", ARGV[2])
trim_events(q)

local active = call("LRANGE", q.active, 0, -1)
local is_active = {}
for _, id in ipairs(active) do is_active[id] = true end

local suspects = call("SMEMBERS", q.stalled)
-- so that the order does not depend on how the server hashes
table.sort(suspects)
call("DEL", q.stalled)
for _, id in ipairs(suspects) do
  local key = q.base .. id
  if is_active[id] and call("EXISTS", key .. ":lock") == 0 then
    is_active[id] = false
    removed[#removed + 1] = id
  end
  if is_active[id] == false and call("EXISTS", key) == 1 then
    local stalls = call("HINCRBY", key, "stc", 1)
    -- the job of a scheduler is never failed for it
    if stalls > tonumber(ARGV[3]) and not call("HGET", key, "rjk") then
      call("HSET", key, "defa", "job stalled more than allowable limit")
    end
    -- a prioritized job goes to the front of wait, too (BullMQ 6.7)
    call("RPUSH", q.wait, id)
    mark_work(q)
    emit(q, "waiting", id, "prev", "active")
    emit_untrimmed(q, "stalled", id)
    recovered[#recovered + 1] = id
  end
end

local left = active
if #removed > FEW then
  -- a list is searched from its beginning each time: with thousands that takes the server seconds
  left = {}
  for _, id in ipairs(active) do
    if is_active[id] then left[#left + 1] = id end
  end
  call("DEL", q.active)
  for i = 1, #left, MANY do call("RPUSH", q.active, unpack(left, i, math.min(i + MANY - 1, #left))) end
elseif #removed > 0 then
  for _, id in ipairs(removed) do call("LREM", q.active, 1, id) end
  left = call("LRANGE", q.active, 0, -1)
end
for i = 1, #left, MANY do
  call("SADD", q.stalled, unpack(left, i, math.min(i + MANY - 1, #left)))
end
return recovered
