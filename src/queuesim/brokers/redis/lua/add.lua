-- Add jobs in one step.
--
-- KEYS: the queue's base. ARGV: now, the number of templates; seven for each template: opts, timestamp ("": now), delay,
-- priority, lifo ("1" or ""), deduplication (JSON or ""), history (JSON or ""); then four for each job: its template (from 1), custom id or "",
-- name, data. Returns the ids, and the places (from 0) of those of jobs that were there already.
-- include: queue, moves, adding

local q = read_meta(open_queue(KEYS[1]))
check_keys(q)
local now, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local templates, ids, existing = {}, {}, {}
for i = 1, count do
  local at = 3 + (i - 1) * 7
  templates[i] = {
    opts = ARGV[at], timestamp = tonumber(ARGV[at + 1]) or now, delay = tonumber(ARGV[at + 2]),
    priority = tonumber(ARGV[at + 3]), lifo = ARGV[at + 4] == "1",
    deduplication = ARGV[at + 5] ~= "" and cjson.decode(ARGV[at + 5]) or nil,
    history = ARGV[at + 6] ~= "" and ARGV[at + 6] or nil,
  }
end
for _, template in ipairs(templates) do
  template.plain, template.stamp = is_plain(template), whole(template.timestamp)
end

-- most bulks are nothing but plain jobs, and those go in together
local plain = {}
local function add_plain()
  if #plain > 0 then add_plain_jobs(q, plain, ids) end
  plain = {}
end
for i = 3 + count * 7, #ARGV, 4 do
  local job = templates[tonumber(ARGV[i])]
  if job.plain and ARGV[i + 1] == "" then
    plain[#plain + 1] = { ARGV[i + 2], ARGV[i + 3], job }
  else
    add_plain()
    job.id = ARGV[i + 1] ~= "" and ARGV[i + 1] or nil
    job.name, job.data = ARGV[i + 2], ARGV[i + 3]
    local id, added = add_job(q, job, now)
    if id and not added then existing[#existing + 1] = #ids end
    ids[#ids + 1] = id
  end
end
add_plain()
return finished({ ids, existing })
