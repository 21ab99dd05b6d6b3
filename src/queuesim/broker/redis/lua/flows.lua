-- Flows: what a job that ends does to the parent that waits for it, which may be in another queue.
-- include: queue, moves

-- Let a parent run that waited for its children. A delay of its own counts from now.
local function move_parent(parent, id, now)
  local job = call("HMGET", parent.base .. id, "priority", "delay")
  local priority, delay = tonumber(job[1]) or 0, tonumber(job[2]) or 0
  if delay > 0 then
    -- not behind others of its millisecond (BullMQ 6.7)
    call("ZADD", parent.delayed, (now + delay) * SCORES_A_MILLISECOND, id)
    emit_untrimmed(parent, "delayed", id, "delay", whole(now + delay))
    mark_delay(parent)
    return
  end
  if priority > 0 then
    prioritize(parent, id, priority)
  else
    call("RPUSH", parent.wait, id)
  end
  mark_work(parent)
  emit_untrimmed(parent, "waiting", id, "prev", "waiting-children")
end

-- Let it run if it waits for children: whether or not others are still to come is for the caller to know.
local function release_parent(base, id, now)
  local parent = open_queue(base)
  if call("EXISTS", base .. id) == 1 and call("ZREM", parent.children, id) == 1 then
    move_parent(read_meta(parent), id, now)
  end
end

local function release_parent_without_children(base, id, now)
  if call("SCARD", base .. id .. ":dependencies") == 0 then
    release_parent(base, id, now)
  end
end

-- The parent's queue and id from a child's fields `parent` (JSON) and `parentKey`; nil where it has none.
local function parent_of(json, key)
  if json then
    local parent = cjson.decode(json)
    return parent.queueKey .. ":", parent.id, parent
  end
  if key and key ~= "" then
    local base, id = string.match(key, "^(.*:)([^:]+)$")
    return base, id, {}
  end
  return nil
end

-- A child failed for good, and its parent is to fail with it: as soon as a worker takes it.
local function fail_parent(base, id, child_key, now)
  local parent = open_queue(base)
  if call("EXISTS", base .. id) == 0 then return end
  local waits = call("ZREM", parent.children, id) == 1
  if not waits and call("ZREM", parent.delayed, id) == 1 then
    waits = true
    call("HSET", base .. id, "delay", 0)
  end
  if waits or not call("ZSCORE", parent.failed, id) then
    call("HSET", base .. id, "defa", "child " .. child_key .. " failed")
  end
  if waits then move_parent(read_meta(parent), id, now) end
end

local function child_completed(q, id, json, key, value, now)
  local base, parent_id = parent_of(json, key)
  if not base then return end
  local parent_key, child_key = base .. parent_id, q.base .. id
  if call("SREM", parent_key .. ":dependencies", child_key) == 1 then
    call("HSET", parent_key .. ":processed", child_key, value)
    release_parent_without_children(base, parent_id, now)
  end
end

-- What follows a child's failure is the child's own option; without one its parent waits for ever.
local function child_failed(q, id, json, reason, now)
  local base, parent_id, rule = parent_of(json)
  if not base or not (rule.fpof or rule.cpof or rule.idof or rule.rdof) then return end
  local parent_key, child_key = base .. parent_id, q.base .. id
  if call("SREM", parent_key .. ":dependencies", child_key) == 0 then return end
  if rule.fpof then
    call("ZADD", parent_key .. ":unsuccessful", whole(now), child_key)
    fail_parent(base, parent_id, child_key, now)
  elseif rule.cpof then
    call("HSET", parent_key .. ":failed", child_key, reason)
    release_parent(base, parent_id, now)
  else
    release_parent_without_children(base, parent_id, now)
    if rule.idof then call("HSET", parent_key .. ":failed", child_key, reason) end
  end
end

-- A child is gone: its parent waits for it no longer. Such a parent goes to wait whatever its priority (BullMQ 6.7).
local function child_removed(q, id, key)
  if not key or key == "" or call("SREM", key .. ":dependencies", q.base .. id) == 0 then return end
  local base, parent_id = parent_of(nil, key)
  if call("SCARD", key .. ":dependencies") > 0 then return end
  local parent = open_queue(base)
  if call("ZREM", parent.children, parent_id) == 1 then
    call("RPUSH", parent.wait, parent_id)
    mark_work(read_meta(parent))
    emit_untrimmed(parent, "waiting", parent_id, "prev", "waiting-children")
  end
end
