-- Operations on all jobs of a state, a page at a time: a queue of a million jobs would hold up everybody else otherwise.
-- include: queue, listing, removal, flows

-- A page of at most `count` ids of a state, the next from index `at` on. Jobs come and go between two calls: the page begins
-- behind `anchor`, the id before it when `at` was found ("" for the first page), where that is within half a page. Otherwise
-- it begins half a page earlier, so that few jobs are passed over.
-- Returns the ids, the index of the first of them, and whether the state ends with them.
local function page_of(q, state, at, anchor, count, ascending)
  local back = anchor == "" and 0 or math.min(at, math.floor(count / 2))
  local ids = ids_of(q, state, at - back, at + count - 1, ascending)
  local before = 0
  for i, id in ipairs(ids) do
    if id == anchor then
      before = i
      break
    end
  end
  local page = {}
  for i = before + 1, math.min(before + count, #ids) do page[#page + 1] = ids[i] end
  return page, at - back + before, #ids < back + count and before + #page == #ids
end

-- Remove jobs that stand at these indices of a state. Their keys first: a key without a place would be a job in no state.
local function remove_page(q, state, ids, indices)
  if #ids == 0 then return end
  if SETS[state] then
    delete_many(q, ids, q[SETS[state]])
    return
  end
  local list = q[LISTS[state]]
  delete_many(q, ids)
  for _, index in ipairs(indices) do place("LSET", list, -(index + 1), GONE) end
  place("LREM", list, -#ids, GONE)
  if state == "active" then write("SREM", q.stalled, unpack(ids)) end
end

-- Remove the jobs of a page, the first to run first, but those of which `stays` is true. Returns their ids, the index at which
-- the next page begins, the id before it, and whether there is none.
local function sweep(q, state, at, anchor, count, stays)
  local page, first, done = page_of(q, state, at, anchor, count, true)
  local gone, indices, kin = {}, {}, {}
  for i, id in ipairs(page) do
    if stays(id) then
      anchor = id
    else
      release_removed(q, id)
      gone[#gone + 1] = id
      kin[#gone] = kin_of(q, id) or false
      indices[#indices + 1] = first + i - 1
    end
  end
  remove_page(q, state, gone, indices)
  for i, fields in ipairs(kin) do
    if fields then child_removed(q, gone[i], fields, true) end
  end
  return gone, first + #page - #gone, anchor, done
end
