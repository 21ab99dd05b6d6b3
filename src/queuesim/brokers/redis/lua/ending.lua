-- How a job ends, and what every outcome needs to know of its job.
-- include: queue, moves, removal
-- rarely: flows, adding

local ATTEMPTS_MADE, ATTEMPTS_STARTED, OPTIONS, DEDUPLICATION, ATTEMPTS_MADE_BEFORE = 1, 2, 3, 4, 5
local PARENT, PARENT_KEY = 6, 7

-- What every outcome needs to know of its job; what only some do, they ask for themselves. Raises where its key is no hash.
local function read_job(key)
  local job = call("HMGET", key, "atm", "ats", "opts", "deid", "attemptsMade", "parent", "parentKey")
  job[ATTEMPTS_MADE] = whole_number(job[ATTEMPTS_MADE] or job[ATTEMPTS_MADE_BEFORE]) or 0
  return job
end

-- The jobs of a batch have most of their options in common: each text is decoded once.
local known = {}

local function decoded(text)
  local value = known[text]
  if value == nil then
    value = decode(text)
    known[text] = value
  end
  return value
end

local function options_of(job)
  return job[OPTIONS] and decoded(job[OPTIONS]) or {}
end

-- A rule of retention as options have it: true removes at once, false keeps all, a number keeps so many. nil: no rule.
-- A limit that is not a number limits nothing.
local function rule_of(options, name)
  local rule = decoded(options)[name]
  if rule == nil or rule == cjson.null then return nil end
  if rule == true then return { count = 0 } end
  if type(rule) == "table" then
    local limit = whole_number(rule.limit)
    return { count = whole_number(rule.count), age = finite(rule.age), limit = limit ~= 0 and limit or nil }
  end
  return { count = whole_number(rule) }
end

local NO_RULE = {}
local rules = { removeOnComplete = {}, removeOnFail = {} }

-- The job's own rule of retention, or else the worker's.
local function retention(job, name, of_worker)
  local options = job[OPTIONS]
  if options then
    local rule = rules[name][options]
    if rule == nil then
      -- most jobs have no rule of their own: to look is cheaper than to decode
      rule = string.find(options, name, 1, true) and rule_of(options, name) or NO_RULE
      rules[name][options] = rule
    end
    if rule ~= NO_RULE then return rule end
  end
  return of_worker == "" and NO_RULE or decoded(of_worker)
end

-- The jobs that completed in this batch, as score and id: they go into their set together, for nobody looks before.
local function flush_completed(q)
  local pairs_of = q.completing
  for at = 1, #pairs_of, MANY do
    place("ZADD", q.completed, unpack(pairs_of, at, math.min(at + MANY - 1, #pairs_of)))
  end
  q.completing = {}
end

-- Delete jobs that retention no longer keeps. They freed their deduplication ids when they finished. A parent may still wait
-- for a child that failed, and only then; it waits for it no longer.
local function evict_jobs(q, set, ids)
  local kin = {}
  if set == q.failed then
    for i, id in ipairs(ids) do kin[i] = flows.kin_of(q, id) or false end
  end
  delete_many(q, ids, set)
  for i, fields in ipairs(kin) do
    if fields then flows.child_removed(q, ids[i], fields) end
  end
end

-- What retention no longer keeps.
local function evict(q, set, keep, now)
  if keep.age then
    local oldest = now - keep.age * 1000
    evict_jobs(q, set, read("ZREVRANGEBYSCORE", set, oldest, "-inf", "LIMIT", 0, keep.limit or 1000) or {})
  end
  if keep.count and keep.count > 0 then
    evict_jobs(q, set, read("ZREVRANGE", set, keep.count, -1) or {})
  end
end

-- Jobs of a batch mostly share a rule. What it leaves over goes at the end of the batch, or before another rule counts.
local function evict_later(q, set, keep)
  q.evicting[set] = keep
end

local function evict_now(q, set, now)
  if q.evicting[set] then
    flush_completed(q)
    evict(q, set, q.evicting[set], now)
    q.evicting[set] = nil
  end
end

-- The number of attempts made once this one counts. Lua writes numbers slowly; the worker mostly wrote it already.
local function made_now(job, made)
  local number = job[ATTEMPTS_MADE] + 1
  return tonumber(made) == number and made or tostring(number)
end

local function finish(q, id, job, state, keep, now, made, ...)
  local key, set = job.key, q[state]
  if keep.count == 0 then
    delete_keys(q, id)
    if job[PARENT] or job[PARENT_KEY] then flows.child_removed(q, id, { job[PARENT], job[PARENT_KEY] }) end
  else
    if q.evicting[set] and q.evicting[set].count ~= keep.count then evict_now(q, set, now) end
    if state == "failed" then
      place("ZADD", set, q.now, id)
      quietly("HDEL", key, "defa")
    else
      local completing = q.completing
      completing[#completing + 1] = q.now
      completing[#completing + 1] = id
    end
    write("HSET", key, "atm", made_now(job, made), "finishedOn", q.now, ...)
    if state == "failed" then
      -- at once, for it may let a parent run
      evict(q, set, keep, now)
    elseif keep.age then
      flush_completed(q)
      evict(q, set, keep, now)
    elseif keep.count then
      evict_later(q, set, keep)
    end
  end
  if job[DEDUPLICATION] then
    adding.release_finished(q, job[DEDUPLICATION], id, now)
  end
end
