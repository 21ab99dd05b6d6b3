-- The stalled check: at most one per interval for the whole queue. Jobs that were active at the last check and have no
-- lock now go to the front of wait. KEYS: the queue's base. ARGV: now, interval in ms, stalls allowed.
-- Returns the ids of the jobs that had stalled.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
-- so many are taken out of the list of active jobs one by one; so many ids go into one command
local FEW, MANY = 50, 5000
local recovered, removed = {}, {}
if call("EXISTS", q.base .. "stalled-check") == 1 then
  return recovered
end
local active = call("LRANGE", q.active, 0, -1)
local is_active = {}
for _, id in ipairs(active) do is_active[id] = true end

local suspects = call("SMEMBERS", q.stalled)
-- so that the order does not depend on how the server hashes
table.sort(suspects)
write("SET", q.base .. "stalled-check", ARGV[1], "PX", ARGV[2])
trim_events(q)
write("DEL", q.stalled)
for _, id in ipairs(suspects) do
  if is_active[id] and read("EXISTS", q.base .. id .. ":lock") == 0 then
    is_active[id] = false
    removed[#removed + 1] = id
  end
end

local left = active
if #removed > FEW then
  -- a list is searched from its beginning each time: with thousands that takes the server seconds
  left = {}
  for _, id in ipairs(active) do
    if is_active[id] then left[#left + 1] = id end
  end
  -- the new list is made beside the old one, under a name that no job's key can have, and takes its place at one go
  local beside = q.base .. "recover:active"
  quietly("DEL", beside)
  local made = true
  for i = 1, #left, MANY do
    made = place("RPUSH", beside, unpack(left, i, math.min(i + MANY - 1, #left))) and made
  end
  local took = made and place(unpack(#left > 0 and { "RENAME", beside, q.active } or { "DEL", q.active }))
  if not took then
    quietly("DEL", beside)
    removed = {}
  end
elseif #removed > 0 then
  local gone = {}
  for _, id in ipairs(removed) do
    if place("LREM", q.active, 1, id) then gone[#gone + 1] = id end
  end
  removed = gone
  left = read("LRANGE", q.active, 0, -1) or {}
end

for _, id in ipairs(removed) do
  local key = q.base .. id
  if read("EXISTS", key) ~= 0 then
    -- a prioritized job goes to the front of wait, too (BullMQ 6.7)
    place("RPUSH", q.wait, id)
    local stalls = (whole_number(quietly("HGET", key, "stc")) or 0) + 1
    quietly("HSET", key, "stc", whole(stalls))
    -- the job of a scheduler is never failed for it
    if stalls > tonumber(ARGV[3]) and not quietly("HGET", key, "rjk") then
      quietly("HSET", key, "defa", "job stalled more than allowable limit")
    end
    mark_work(q)
    emit(q, "waiting", id, "prev", "active")
    emit_untrimmed(q, "stalled", id)
    recovered[#recovered + 1] = id
  end
end
for i = 1, #left, MANY do
  write("SADD", q.stalled, unpack(left, i, math.min(i + MANY - 1, #left)))
end
return finished(recovered)
