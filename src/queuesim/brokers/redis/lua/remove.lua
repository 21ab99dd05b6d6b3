-- Remove a job that no worker holds. KEYS: the queue's base. ARGV: its id. Returns 0, -1: there is no such job, -6: locked,
-- -8: it is the present job of a scheduler, which would stand still without it.
-- include: queue, moves, removal, scheduling, flows

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local id = ARGV[1]
if call("EXISTS", q.base .. id) == 0 then return -1 end
if call("EXISTS", q.base .. id .. ":lock") == 1 then return -6 end
if is_present(q, id) then return -8 end
release_removed(q, id)
local kin = kin_of(q, id)
delete_keys(q, id)
local state = take_out(q, id)
child_removed(q, id, kin)
emit(q, "removed", id, "prev", state or "unknown")
return finished(0)
