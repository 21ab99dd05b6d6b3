"""Adding jobs to a queue on Redis, and looking after it: pausing, limits, listing, moving and removing jobs by hand."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.jobs import decode_job, encode_jobs
from queuesim.broker.redis.options import milliseconds
from queuesim.broker.redis.place import Argument
from queuesim.errors import JobError, QueueActiveError, QueueNotPausedError
from queuesim.job import ExistingId, Job, JobId, JobState, NewJob
from queuesim.limits import RateLimit

ADDED_AT_ONCE = 1000
"""Jobs of a bulk add that one script adds: longer ones would hold up everybody else."""
PAGE = 1000
"""Jobs that one call of a script lists, moves or removes: longer calls would hold up everybody else."""
SCORES_A_MILLISECOND = 4096
"""Of the sorted set of delayed jobs."""
COUNTED = (
    JobState.WAITING,
    JobState.PRIORITIZED,
    JobState.DELAYED,
    JobState.ACTIVE,
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.WAITING_CHILDREN,
)
"""In the order in which the script `counts` tells them."""
CLEANABLE = COUNTED[:-1]


class Managing(RedisQueue):
    """What producers, people and programs do to a queue from outside."""

    # -- adding

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """Add jobs and return their ids; see Broker.add."""
        ids: list[JobId] = []
        for first in range(0, len(jobs), ADDED_AT_ONCE):
            part = jobs[first : first + ADDED_AT_ONCE]
            found, existing = await self._run("add", encode_jobs(part, now, self.origin))
            ids += map(JobId, found)
            for place in existing:
                ids[first + place] = ExistingId(found[place])
        return ids

    # -- the queue

    async def pause(self, now: float) -> None:
        """No job starts from now on; active ones go on, delayed ones are still promoted."""
        await self._run("pause", ("1",))

    async def resume(self, now: float) -> None:
        """Let jobs start again."""
        await self._run("pause", ("",))

    async def is_paused(self) -> bool:
        """Whether `pause` holds."""
        return bool(await self._place.command("HEXISTS", self._base + "meta", "paused"))

    async def set_concurrency(self, limit: int | None, now: float) -> None:
        """Limit the active jobs of all workers together."""
        await self._run("settings", ("concurrency", "" if limit is None else limit))

    async def set_rate_limit(self, limit: RateLimit | None, now: float) -> None:
        """Limit the starts of all workers together."""
        if limit is None:
            await self._run("settings", ("max", "", "duration", ""))
        else:
            await self._run("settings", ("max", limit.max, "duration", milliseconds(limit.duration)))

    async def get_rate_limit(self) -> RateLimit | None:
        """The rate limit over all workers, if there is one."""
        starts, duration = await self._place.command("HMGET", self._base + "meta", "max", "duration")
        try:
            return None if starts is None else RateLimit(int(starts), int(duration or 0) / 1000)
        except ValueError:
            # another program wrote what limits nobody
            return None

    async def rate_limit(self, duration: float, now: float) -> None:
        """Hold all rate-limited workers for `duration` seconds."""
        await self._run("limit", ("hold", milliseconds(duration)))

    async def rate_limit_ttl(self, max_jobs: int | None, now: float) -> float:
        """Seconds until a start is free; see Broker.rate_limit_ttl."""
        ttl: int = await self._run("limit", ("ttl", max_jobs or ""))
        return ttl / 1000

    async def clear_rate_limit(self, now: float) -> None:
        """Forget the present window."""
        await self._run("limit", ("clear", ""))

    async def drain(self, delayed: bool, now: float) -> None:
        """Remove what waits, and what is delayed if asked; see Broker.drain."""
        async for _ in self._drained(delayed):
            pass

    async def _drained(self, delayed: bool) -> AsyncIterator[list[str]]:
        """Drain, and give the ids of the jobs of each page."""
        # BullMQ 5 keeps what waits in a list of its own while a queue is paused
        places = (JobState.WAITING, "paused", JobState.PRIORITIZED, *((JobState.DELAYED,) if delayed else ()))
        for place in places:
            async for page in self._removed("drain", str(place)):
                yield page

    async def _removed(self, name: str, *arguments: Argument) -> AsyncIterator[list[str]]:
        """Run a script that removes jobs of a state, page by page, and give their ids."""
        at, anchor, count, done = 0, "", 0, 0
        while not done:
            page, at, anchor, done = await self._run(name, (at, anchor, PAGE, count, *arguments))
            count += len(page)
            yield page

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        """Remove old jobs of one state; locked ones stay. See Broker.clean."""
        if state not in CLEANABLE:
            raise ValueError(f"can't clean {state}: choose from {', '.join(CLEANABLE)}")
        pages = self._removed("clean", str(state), self._stamp(now - grace), limit)
        return [job_id async for page in pages for job_id in page]

    async def obliterate(self, force: bool, now: float) -> None:
        """Remove everything; see Broker.obliterate."""
        while (left := await self._run("obliterate", ("1" if force else "", PAGE))) == 1:
            pass
        if left == -1:
            raise QueueNotPausedError(f"pause queue {self.queue} before you obliterate it")
        if left == -2:
            raise QueueActiveError(f"queue {self.queue} has active jobs: wait for them, or use force")
        await self._forget_deduplication()

    async def _forget_deduplication(self) -> None:
        """Ids that are held longer than their jobs are kept."""
        for kind in ("de", "dn"):
            cursor, pattern = "0", f"{_literal(self._base)}{kind}:*"
            while True:
                cursor, keys = await self._place.command("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
                if keys:
                    await self._place.command("DEL", *keys)
                if int(cursor) == 0:
                    break

    # -- looking

    async def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        return dict(zip(COUNTED, await self._run("counts"), strict=True))

    async def jobs(self, state: JobState, start: int, end: int, ascending: bool) -> list[Job]:
        """Jobs of a state, `start` to `end` inclusive; see Broker.jobs.

        More than a page of them is not the picture of one moment: a job that changes its state meanwhile may be
        missing. None is listed twice.
        """
        start, wanted = await self._range(state, start, end)
        found: dict[str, Job] = {}
        at, anchor, done = start, "", wanted <= 0
        while not done and len(found) < wanted:
            most = int(min(wanted - len(found), PAGE))
            rows, first, done = await self._run("list", (str(state), at, anchor, most, "1" if ascending else ""))
            page = [self._snapshot(row) for row in rows]
            if state is JobState.DELAYED:
                await self._add_due(page)
            for job in page:
                # a page may begin with jobs of the page before
                found.setdefault(job.id, job)
                anchor = job.id
            at = first + len(page)
        return list(found.values())

    async def _range(self, state: JobState, start: int, end: int) -> tuple[int, float]:
        """The index of the first job that is asked for, and how many jobs are; negative indices count from the end."""
        if start >= 0 and end >= -1:
            return start, math.inf if end == -1 else end - start + 1
        count = (await self.counts())[state]
        first = start if start >= 0 else max(start + count, 0)
        last = end if end >= 0 else end + count
        return first, last - first + 1

    async def _add_due(self, jobs: Sequence[Job]) -> None:
        """When delayed jobs are due: their scores tell."""
        scores = await self._place.command("ZMSCORE", self._base + "delayed", *(job.id for job in jobs)) if jobs else ()
        for job, score in zip(jobs, scores, strict=True):
            if score is not None:
                job.ready_at = self._time(float(score) // SCORES_A_MILLISECOND)

    async def get(self, job_id: str) -> Job | None:
        """The job as it is now."""
        row = await self._run("get", (job_id,))
        return None if row is None else self._snapshot(row)

    def _snapshot(self, row: Sequence[Any]) -> Job:
        return decode_job(row, self, self.origin)  # type: ignore[arg-type]

    async def state(self, job_id: str) -> JobState | None:
        """Where the job is; None if there is no such job."""
        state = await self._run("state", (job_id,))
        return None if state is None else JobState(state)

    async def logs(self, job_id: str) -> list[str]:
        """The rows of the log, oldest first."""
        rows: list[str] = await self._place.command("LRANGE", f"{self._base}{job_id}:logs", 0, -1)
        return rows

    # -- single jobs

    async def _do(self, name: str, job_id: str, doing: str, *arguments: Argument) -> int:
        """Run a script about one job. Raises JobError where it is refused."""
        code: int = await self._run(name, (job_id, *arguments))
        if code < 0:
            raise JobError(job_id, code, doing)
        return code

    async def _write(self, what: str, job_id: str, doing: str, value: str, keep: int | None = None) -> int:
        code: int = await self._run("write", (what, job_id, value, "" if keep is None else keep))
        if code < 0:
            raise JobError(job_id, code, doing)
        return code

    async def update_progress(self, job_id: str, progress: str, now: float) -> None:
        """Store and publish progress, as JSON text."""
        await self._write("progress", job_id, "update the progress of", progress)

    async def update_data(self, job_id: str, data: str, now: float) -> None:
        """Replace the data, as JSON text."""
        await self._write("data", job_id, "update the data of", data)

    async def log(self, job_id: str, row: str, keep: int | None, now: float) -> int:
        """Append a row to the log; returns the length of the log."""
        return await self._write("log", job_id, "log to", row, keep)

    async def retry(self, job_id: str, state: JobState, reset_attempts: bool, now: float) -> None:
        """Run a finished job again. Its attempts stay used up unless they are reset (BullMQ 6.7)."""
        await self._do("retry", job_id, "retry", str(state), "1" if reset_attempts else "")

    async def retry_all(self, state: JobState, before: float | None, now: float) -> int:
        """Run all jobs of a finished state again. They go to `wait` whatever their priority (BullMQ 6.7)."""
        last: Argument = "" if before is None else self._stamp(before)
        total, moved = 0, PAGE
        while moved >= PAGE:
            # without a time: not those that finish again meanwhile
            moved, last = await self._run("retry_all", (str(state), last, PAGE))
            total += moved
        return total

    async def promote(self, job_id: str, now: float) -> None:
        """Let a delayed job run now."""
        await self._do("promote", job_id, "promote")

    async def promote_all(self, now: float) -> int:
        """Let all delayed jobs run now, whatever their priority (BullMQ 6.7)."""
        total, moved = 0, PAGE
        while moved >= PAGE:
            moved = await self._run("promote_all", (PAGE,))
            total += moved
        return total

    async def remove(self, job_id: str, now: float) -> None:
        """Remove a job that no worker holds."""
        await self._do("remove", job_id, "remove")

    async def change_delay(self, job_id: str, delay: float, now: float) -> None:
        """Give a delayed job a new delay, from now."""
        await self._do("change_delay", job_id, "change the delay of", milliseconds(delay), self._stamp(now))

    async def change_priority(self, job_id: str, priority: int, lifo: bool, now: float) -> None:
        """Give a job that waits a new priority; any other job only remembers it."""
        await self._do("change_priority", job_id, "change the priority of", priority, "1" if lifo else "")

    async def release_deduplication(self, dedup_id: str, now: float) -> bool:
        """Free a deduplication id by hand."""
        held = await self._place.command("DEL", f"{self._base}de:{dedup_id}")
        await self._place.command("DEL", f"{self._base}dn:{dedup_id}")
        return bool(held)


def _literal(text: str) -> str:
    """Text for MATCH, in which some signs stand for others."""
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in text)
