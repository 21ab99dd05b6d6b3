-- Finished jobs back to the queue. They leave what they were, not what they used up, unless attempts are reset.
-- include: queue, moves, removal, flows

local RESULTS = { completed = "returnvalue", failed = "failedReason" }

-- Ids that are looked at around a letter that was found: those of the next jobs are mostly near.
local NEAR = 1000

-- The letters taken out of each queue, by its base: {queue, how many, where the ids near the last one stand from the end}.
local settled = {}

-- Where a letter stands, counted from the end, where the oldest are; nil if it does not wait.
local function position_of(letters, id)
  local list, near = letters.queue.wait, letters.near
  if near[id] then return near[id] end
  local index = quietly("LPOS", list, id, "RANK", -1)
  if not index then return nil end
  local position = quietly("LLEN", list) - index
  local last = math.max(position - NEAR / 2, 1)
  local ids = quietly("LRANGE", list, -(position + NEAR), -last) or {}
  letters.near = {}
  for i, other in ipairs(ids) do letters.near[other] = last + #ids - i end
  return position
end

-- Whether a job of another queue is a dead letter of the job `id` of this one. The field that names the letter is not proof:
-- another program may have written it, and after the letters were obliterated their ids come again.
local function is_letter_of(q, id, base, letter_id)
  local prefix, queue = string.match(q.base, "^(.*:)([^:]+):$")
  local other_prefix = string.match(base, "^(.*:)[^:]+:$")
  if not prefix or other_prefix ~= prefix then return false end
  local letter = decode(quietly("HGET", base .. letter_id, "data") or "")
  return letter.queue == queue and letter.id == id and type(letter.reason) == "string" and type(letter.history) == "table"
end

-- A job that runs again needs its dead letter no more, if it is still there.
local function settle_letter(q, id)
  local key = q.base .. id
  local letter = quietly("HGET", key, "letter")
  local base, letter_id = string.match(letter or "", "^(.*:)([^:]*)$")
  if not base then return end
  quietly("HDEL", key, "letter")
  local letters = settled[base] or { queue = open_queue(base), count = 0, near = {} }
  settled[base] = letters
  local position = position_of(letters, letter_id)
  if position and is_letter_of(q, id, base, letter_id) then
    delete_keys(letters.queue, letter_id)
    if place("LSET", letters.queue.wait, -position, GONE) then letters.count = letters.count + 1 end
  end
end

-- Each script that restarts jobs ends with this.
local function remove_settled()
  for _, letters in pairs(settled) do
    if letters.count > 0 then place("LREM", letters.queue.wait, -letters.count, GONE) end
  end
end

local function forget_end(q, id, state, reset)
  local key = q.base .. id
  if state == "failed" then settle_letter(q, id) end
  child_restarted(q, id, state)
  quietly("HDEL", key, "finishedOn", "processedOn", RESULTS[state])
  if reset then
    quietly("HDEL", key, "atm", "ats")
  end
end
