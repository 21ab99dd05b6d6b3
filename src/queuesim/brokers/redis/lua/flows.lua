-- Flows: what a job that ends does to the parent that waits for it, which may be in another queue.
-- include: queue, moves, removal

-- Let a parent run that waited for its children. A delay of its own counts from now, and it goes behind the others of its
-- millisecond.
local function move_parent(parent, id, now)
  local job = quietly("HMGET", parent.base .. id, "priority", "delay") or {}
  local priority, delay = whole_number(job[1]) or 0, finite(job[2]) or 0
  if delay > 0 then
    postpone(parent, id, now + delay)
    return
  end
  if priority > 0 then
    prioritize(parent, id, priority)
  else
    place("RPUSH", parent.wait, id)
  end
  mark_work(parent)
  emit_untrimmed(parent, "waiting", id, "prev", "waiting-children")
end

-- Let it run if it waits for children: whether or not others are still to come is for the caller to know.
local function release_parent(base, id, now)
  local parent = open_queue(base)
  if read("EXISTS", base .. id) == 1 and place("ZREM", parent.children, id) == 1 then
    move_parent(read_meta(parent), id, now)
  end
end

local function release_parent_without_children(base, id, now)
  if read("SCARD", base .. id .. ":dependencies") == 0 then
    release_parent(base, id, now)
  end
end

-- The parent's queue and id from a child's fields `parent` (JSON) and `parentKey`; nil where it has none that can be read.
local function parent_of(json, key)
  if json then
    local parent = decode(json)
    if type(parent.queueKey) == "string" and type(parent.id) == "string" then
      return parent.queueKey .. ":", parent.id, parent
    end
  end
  if key and key ~= "" then
    local base, id = string.match(key, "^(.*:)([^:]+)$")
    if base then return base, id, {} end
  end
  return nil
end

local PARENT_TYPES = { [""] = "hash", [":dependencies"] = "set", [":processed"] = "hash", [":failed"] = "hash",
  [":unsuccessful"] = "zset" }

-- Why the parent of a job that ends can't be told of it; nil if it can, or if there is none.
local function parent_trouble(json, key)
  if not json and (not key or key == "") then return nil end
  local base, id = parent_of(json, key)
  if not base then return "its fields parent and parentKey can't be read" end
  local done, answer = pcall(check_keys, open_queue(base))
  if not done then return message_of(answer) end
  for suffix, expected in pairs(PARENT_TYPES) do
    local found = type_of(base .. id .. suffix)
    if found and found ~= expected then return base .. id .. suffix .. " is a " .. found end
  end
  return nil
end

-- A child failed for good, and its parent is to fail with it: as soon as a worker takes it.
local function fail_parent(base, id, child_key, now)
  local parent = open_queue(base)
  if read("EXISTS", base .. id) ~= 1 then return end
  local waits = place("ZREM", parent.children, id) == 1
  if not waits and place("ZREM", parent.delayed, id) == 1 then
    waits = true
    write("HSET", base .. id, "delay", 0)
  end
  if waits or not read("ZSCORE", parent.failed, id) then
    write("HSET", base .. id, "defa", "child " .. child_key .. " failed")
  end
  if waits then move_parent(read_meta(parent), id, now) end
end

local function child_completed(q, id, json, key, value, now)
  local base, parent_id = parent_of(json, key)
  if not base then return end
  local parent_key, child_key = base .. parent_id, q.base .. id
  if place("SREM", parent_key .. ":dependencies", child_key) == 1 then
    write("HSET", parent_key .. ":processed", child_key, value)
    release_parent_without_children(base, parent_id, now)
  end
end

-- What follows a child's failure is the child's own option; without one its parent waits for ever.
local function child_failed(q, id, json, reason, now)
  local base, parent_id, rule = parent_of(json)
  if not base or not (rule.fpof or rule.cpof or rule.idof or rule.rdof) then return end
  local parent_key, child_key = base .. parent_id, q.base .. id
  if place("SREM", parent_key .. ":dependencies", child_key) ~= 1 then return end
  if rule.fpof then
    write("ZADD", parent_key .. ":unsuccessful", whole(now), child_key)
    fail_parent(base, parent_id, child_key, now)
  elseif rule.cpof then
    write("HSET", parent_key .. ":failed", child_key, reason)
    release_parent(base, parent_id, now)
  else
    release_parent_without_children(base, parent_id, now)
    if rule.idof then write("HSET", parent_key .. ":failed", child_key, reason) end
  end
end

-- The fields of a job by which it knows its parent, {parent, parentKey}; nil where it has none.
local function kin_of(q, id)
  local fields = quietly("HMGET", q.base .. id, "parent", "parentKey")
  return fields and (fields[1] or fields[2]) and fields or nil
end

-- A child is gone, whose fields `kin` were: its parent waits for it no longer. A parent that waits for no other goes to wait,
-- whatever its priority; but if one operation removes many jobs (`hard`), a parent in their queue goes with them, and no event
-- tells of either (BullMQ 6.7).
local function child_removed(q, id, kin, hard)
  if not kin or parent_trouble(kin[1], kin[2]) then return end
  local base, parent_id = parent_of(kin[1], kin[2])
  if not base then return end
  local dependencies = base .. parent_id .. ":dependencies"
  if place("SREM", dependencies, q.base .. id) ~= 1 or read("SCARD", dependencies) ~= 0 then return end
  local parent = read_meta(open_queue(base))
  if not read("ZSCORE", parent.children, parent_id) then return end
  if hard and base == q.base then
    local kin_of_parent = kin_of(parent, parent_id)
    release_removed(parent, parent_id)
    delete_keys(parent, parent_id)
    place("ZREM", parent.children, parent_id)
    child_removed(q, parent_id, kin_of_parent, hard)
    return
  end
  place("ZREM", parent.children, parent_id)
  place("RPUSH", parent.wait, parent_id)
  mark_work(parent)
  if not hard then emit_untrimmed(parent, "waiting", parent_id, "prev", "waiting-children") end
end

-- A child that ended runs again: its parent knows of its end no longer. One that waits for children waits for it again; any
-- other can't complete before it (BullMQ 6.7).
local function child_restarted(q, id, state)
  local kin = kin_of(q, id)
  if not kin or parent_trouble(kin[1], kin[2]) then return end
  local base, parent_id = parent_of(kin[1], kin[2])
  if not base then return end
  local key, child = base .. parent_id, q.base .. id
  if read("EXISTS", key) ~= 1 then return end
  local forgot
  if state == "failed" then
    forgot = place("ZREM", key .. ":unsuccessful", child) == 1 or place("HDEL", key .. ":failed", child) == 1
  else
    forgot = place("HDEL", key .. ":processed", child) == 1
  end
  if forgot then place("SADD", key .. ":dependencies", child) end
end
