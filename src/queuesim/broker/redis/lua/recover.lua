-- The stalled check: at most one per interval for the whole queue. Jobs that were active at the last check and have no
-- lock now go to the front of wait. KEYS: the queue's base. ARGV: now, interval in ms, stalls allowed.
-- Returns the ids of the jobs that had stalled.
-- include: queue, moves

local q = read_meta(open_queue(KEYS[1]))
local recovered = {}
if call("EXISTS", q.base .. "stalled-check") == 1 then
  return recovered
end
call("SET", q.base .. "stalled-check", ARGV[1], "PX", ARGV[2])
trim_events(q)

local suspects = call("SMEMBERS", q.stalled)
-- so that the order does not depend on how the server hashes
table.sort(suspects)
call("DEL", q.stalled)
for _, id in ipairs(suspects) do
  local key = q.base .. id
  if call("EXISTS", key .. ":lock") == 0 and call("LREM", q.active, 1, id) == 1 and call("EXISTS", key) == 1 then
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

local active = call("LRANGE", q.active, 0, -1)
for i = 1, #active, 5000 do
  call("SADD", q.stalled, unpack(active, i, math.min(i + 4999, #active)))
end
return recovered
