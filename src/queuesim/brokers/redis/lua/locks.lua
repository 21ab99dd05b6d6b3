-- Locks: a string with the token of whoever holds the job, which expires. The error codes of a refusal (BullMQ 6.7).
-- include: queue

local JOB_MISSING, LOCK_MISSING, NOT_ACTIVE, LOCK_MISMATCH = -1, -2, -3, -6
-- Ours: the job's keys are not what a queue writes, and so it failed.
local DAMAGED = -12
