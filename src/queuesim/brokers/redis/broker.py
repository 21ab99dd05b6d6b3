"""The workers' side of the Redis broker: the exchange, locks, stalled jobs, waiting for work."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from queuesim.brokers.redis.codec import (
    decode_job,
    decode_options,
    encode_jobs,
    encode_options,
    milliseconds,
    worker_keep,
)
from queuesim.brokers.redis.scripts import script
from queuesim.brokers.redis.server import PREFIX, Argument, Place
from queuesim.brokers.redis.stream import SeenEvents, event_id, read_from, read_page
from queuesim.core.broker import (
    Completed,
    Failed,
    FlowRow,
    Observer,
    Outcome,
    Postponed,
    Reply,
    Retried,
    Returned,
    Terms,
)
from queuesim.core.clock import Clock
from queuesim.core.containment import Contained, log
from queuesim.core.errors import BrokerUnavailableError, JobError, QueueActiveError, QueueNotPausedError
from queuesim.core.events import Event, EventKind, EventPage
from queuesim.core.job import (
    Children,
    ExistingId,
    Job,
    JobId,
    JobOptions,
    JobState,
    NewJob,
    RateLimit,
    parse_json_or_text,
    to_json,
)
from queuesim.core.scheduler import Cron, Every, Missed, ScheduleError, Scheduler
from queuesim.core.storable import storable, unstorable

if TYPE_CHECKING:
    from queuesim.core.broker import Broker


# -- What every part of the Redis broker rests on: a queue's name, its keys, its place

TYPES = {
    **dict.fromkeys(("wait", "active", "paused"), "list"),
    **dict.fromkeys(("prioritized", "delayed", "completed", "failed", "waiting-children", "marker", "repeat"), "zset"),
    **dict.fromkeys(("id", "pc", "limiter", "stalled-check"), "string"),
    "meta": "hash",
    "stalled": "set",
    "events": "stream",
}
"""The keys of a queue, and what each of them is."""


class RedisQueue:
    """A queue on BullMQ's keys.

    Args:
        queue: its name.
        place: the server.
        prefix: what all keys begin with. On Redis Cluster it must carry the hash tag: "{bull}".
        origin: when second 0 of the queue's clock was, in seconds since the Unix epoch; 0 for a clock of Unix time.

    Raises:
        ValueError: the name holds a colon, which separates the parts of a key.
    """

    server_now: float | None = None
    """What time it really is, while someone is served whose clock is wrong; None: all clocks agree. A simulation sets
    it: a real server has a clock of its own."""

    def __init__(self, queue: str, place: Place, prefix: str = PREFIX, *, origin: float = 0.0) -> None:
        if not queue or ":" in queue:
            raise ValueError(f"a queue's name can't be empty or contain ':' ({queue!r}): it is a part of Redis keys")
        self.queue = queue
        self.prefix = prefix
        self.origin = origin
        self._place = place
        self._base = self._base_of(queue)
        self.clock: Clock | None = None if place.clock is None else self._calendar
        self.observer_errors = Contained(f"the observer of queue {queue}")

    @property
    def max_in_flight(self) -> int:
        """How many exchanges of a worker may be in flight at once."""
        return getattr(self._place, "max_in_flight", 1)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix}:{self.queue}>"

    def _calendar(self) -> float:
        assert self._place.clock is not None
        return self._place.clock() - self.origin

    async def compare_clock(self, clock: Clock) -> None:
        """Log a warning if a clock of this queue's users is not the server's; see ServerPlace.compare_clock."""
        compare = getattr(self._place, "compare_clock", None)
        if compare is not None:
            await compare(lambda: clock() + self.origin)

    def _base_of(self, queue: str) -> str:
        return f"{self.prefix}:{queue}:"

    def sibling(self, queue: str) -> Broker:
        """A broker for another queue in the same place."""
        return type(self)(queue, self._place, self.prefix, origin=self.origin)  # type: ignore[return-value]

    async def close(self) -> None:
        """Nothing to give back: whoever made the place closes it."""

    def _stamp(self, time: float) -> int:
        """A time of the queue's clock as the keys have it: milliseconds since the Unix epoch."""
        return milliseconds(time + self.origin)

    def _time(self, stamp: float) -> float:
        """A time of the keys on the queue's clock."""
        return stamp / 1000 - self.origin

    async def _run(self, name: str, arguments: Sequence[Argument] = ()) -> Any:
        from redis.exceptions import ResponseError

        try:
            return await self._place.run(script(name), self._base, arguments)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise BrokerUnavailableError(await self._foreign_key()) from error

    async def _foreign_key(self) -> str:
        """Which of the queue's keys is of a type that no queue has, and what to do."""
        for name, expected in TYPES.items():
            found = await self._place.command("TYPE", self._base + name)
            if found not in (expected, "none"):
                return (
                    f"the key {self._base}{name} is a {found}, where a queue has a {expected}: another program "
                    "wrote it. Rename or remove it, or give the queue another name or prefix"
                )
        return f"a job of {self._base} has a key of a foreign type: another program wrote it. Remove that job's keys"


LOG = logging.getLogger("queuesim.brokers")

LONGEST_WAIT = 5.0
"""An idle worker looks for work after so many seconds at the latest, as BullMQ's workers do (drainDelay): whoever knew
when the next delayed job is due may have died with that."""


class Taking(RedisQueue):
    """Taking jobs, and keeping them."""

    _observer: Observer | None = None

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every limiter window that an exchange of this broker opens."""
        self._observer = observer

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        """Hand in outcomes and take jobs; see Broker.exchange."""
        limiter = terms.limiter
        arguments: list[Argument] = [
            self._stamp(now),
            token,
            milliseconds(terms.lock_duration),
            "" if limiter is None else limiter.max,
            "" if limiter is None else milliseconds(limiter.duration),
            terms.worker or "",
            take,
            "1" if again else "",
        ]
        for outcome in outcomes:
            arguments += self._encoded(storable(outcome))
        limited, due, window, most, refused, rows, fault = await self._run("exchange", arguments)
        if fault:
            message = "an exchange of queue %s went on after an error of the server: %s"
            log(LOG, logging.ERROR, message, self.queue, fault)
        reply = Reply()
        reply.jobs = [decode_job(row, self, self.origin, token) for row in rows]  # type: ignore[arg-type]
        for job in reply.jobs:
            if not again or job.processed_on is None:
                # to more than the millisecond that is stored
                job.processed_on = now
                job.processed_by = terms.worker
        if limited >= 0:
            reply.limited_until = now + limited / 1000
        if due >= 0:
            reply.next_due = self._time(due)
        for i in range(0, len(refused), 2):
            reply.refuse(outcomes[refused[i]], refused[i + 1])
        if window >= 0 and self._observer is not None:
            opened = now if self.server_now is None else self.server_now
            try:
                self._observer.window(opened, opened + window / 1000, most)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)
        return reply

    def _encoded(self, outcome: Outcome) -> tuple[Argument, ...]:
        """An outcome as arguments of the script `exchange`; one that can't be encoded fails its job."""
        try:
            return self._outcome(outcome)
        except Exception as error:  # noqa: BLE001 - it concerns this job alone: its neighbours are handed in
            reason = unstorable(outcome, error)
            return self._outcome(
                Failed(
                    outcome.job_id, outcome.token, reason, attempt=outcome.attempt, attempts_made=outcome.attempts_made
                )
            )

    def _outcome(self, outcome: Outcome) -> tuple[Argument, ...]:
        """An outcome as ten arguments of the script `exchange`."""
        note = outcome.note
        head = (outcome.job_id, outcome.token, outcome.attempt, outcome.attempts_made)
        if type(outcome) is Completed:
            return ("C", *head, outcome.value, worker_keep(outcome.keep), "", "", note)
        if isinstance(outcome, Retried):
            history = "" if outcome.history is None else to_json(outcome.history)
            return ("R", *head, milliseconds(outcome.delay), outcome.reason, _rows(outcome.stacktrace), history, note)
        if isinstance(outcome, Failed):
            letter = outcome.dead_letter
            buried = "" if letter is None else to_json({"base": self._base_of(letter.queue), "data": letter.data})
            return ("F", *head, outcome.reason, worker_keep(outcome.keep), _rows(outcome.stacktrace), buried, note)
        if isinstance(outcome, Postponed):
            return ("P", *head, milliseconds(outcome.delay), "", "", "", note)
        assert isinstance(outcome, Returned)
        return ("B", *head, "" if outcome.hold is None else milliseconds(outcome.hold), "", "", "", note)

    async def wait(self, until: float | None, now: float) -> None:
        """Return when there may be work, or at `until`; see Broker.wait."""
        if until is not None and until <= now:
            return
        latest = now + LONGEST_WAIT
        await self._place.block(self._base + "marker", latest if until is None else min(until, latest), now)

    async def renew(self, locks: Sequence[tuple[str, str]], duration: float, now: float) -> list[str]:
        """Extend locks; see Broker.renew."""
        words: list[Argument] = [milliseconds(duration)]
        for lock in locks:
            words += lock
        lost: list[str] = await self._run("renew", words)
        return lost

    async def recover_stalled(self, interval: float, max_stalled: int, now: float) -> list[str]:
        """The stalled check; see Broker.recover_stalled."""
        recovered: list[str] = await self._run("recover", (self._stamp(now), milliseconds(interval), max_stalled))
        return recovered


def _rows(stacktrace: Sequence[str]) -> str:
    return json.dumps(list(stacktrace), ensure_ascii=False) if stacktrace else ""


# -- Adding jobs to a queue on Redis, and looking after it: pausing, limits, listing, moving and removing jobs by hand

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


# -- Job schedulers on BullMQ's keys: the hash `repeat:<id>` and the sorted set `repeat`

logger = logging.getLogger("queuesim.brokers")

OF_ONE_JOB = ("jobId", "delay", "timestamp", "repeat", "prevMillis", "repeatJobKey")
"""Of a job's opts, what is no part of the template."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A scheduler as it is stored."""

    scheduler: Scheduler
    template: Mapping[str, Any]
    """The opts of its jobs, also those that we don't know."""
    rule: Mapping[str, Any]
    """The option `repeat` of its jobs."""


class Scheduling(RedisQueue):
    """Storing schedulers, and adding their jobs one after another."""

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        """Store a scheduler and add its first job; see Broker.upsert_scheduler."""
        head: list[Argument] = [self._stamp(now), scheduler.id]
        template = json.loads(encode_options(replace(scheduler.options, timestamp=None, delay=0.0)))
        stored = Stored(scheduler, template, self._rule(scheduler))
        arguments = [*head, *self._iteration(stored, due, now, 1), *_fields(stored)]
        answer = await self._run("upsert_scheduler", arguments)
        if isinstance(answer, int):
            raise JobError(f"repeat:{scheduler.id}:{self._stamp(due)}", answer, "schedule")
        return str(answer)

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        """Add a scheduler's next job; see Broker.advance_scheduler."""
        stored = await self._stored(scheduler_id)
        if stored is None:
            return None
        head: list[Argument] = [self._stamp(now), scheduler_id, job_id]
        if due is None:
            await self._run("advance_scheduler", [*head, ""])
            return None
        arguments = [*head, *self._iteration(stored, due, now, stored.scheduler.iterations + 1)]
        answer = await self._run("advance_scheduler", arguments)
        if isinstance(answer, int):
            raise JobError(f"repeat:{scheduler_id}:{self._stamp(due)}", answer, "schedule")
        return str(answer) or None

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        """Remove a scheduler and its pending job; see Broker.remove_scheduler."""
        return bool(await self._run("remove_scheduler", (scheduler_id,)))

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        """The scheduler of that id; None if there is none. Raises ScheduleError if it can't be read."""
        stored = await self._stored(scheduler_id)
        return None if stored is None else stored.scheduler

    async def schedulers(self) -> list[Scheduler]:
        """All of them, the one that is due first at the front. Those that can't be read are left out and logged."""
        found = []
        for scheduler_id in await self._place.command("ZRANGE", f"{self._base}repeat", 0, -1):
            try:
                scheduler = await self.scheduler(scheduler_id)
            except ScheduleError as error:
                log(logger, logging.WARNING, "queue %s: %s", self.queue, error)
                continue
            if scheduler is not None:
                found.append(scheduler)
        return sorted(found, key=lambda s: (math.inf if s.due is None else s.due, s.id))

    # -- between the core and the keys

    def _iteration(self, stored: Stored, due: float, now: float, count: int) -> list[Argument]:
        scheduler, stamp = stored.scheduler, self._stamp(due)
        opts = {
            "attempts": 0,
            **stored.template,
            "delay": max(stamp - self._stamp(now), 0),
            "jobId": f"repeat:{scheduler.id}:{stamp}",
            "timestamp": self._stamp(now),
            "repeat": {**stored.rule, "count": count},
            "repeatJobKey": scheduler.id,
        }
        if isinstance(scheduler.schedule, Cron):
            opts["prevMillis"] = stamp
        deduplication = scheduler.options.deduplication
        return [
            stamp,
            scheduler.name,
            scheduler.data,
            to_json(opts),
            scheduler.options.priority,
            "1" if scheduler.options.lifo else "",
            "" if deduplication is None else deduplication.id,
        ]

    def _rule(self, scheduler: Scheduler) -> dict[str, Any]:
        """When it repeats, as BullMQ says it."""
        schedule = scheduler.schedule
        rule: dict[str, Any]
        if isinstance(schedule, Cron):
            rule = {"pattern": schedule.line, "tz": schedule.zone}
        else:
            rule = {"every": milliseconds(schedule.seconds), "offset": milliseconds(schedule.offset or 0.0)}
        bounds = {"startDate": scheduler.start, "endDate": scheduler.end}
        rule |= {name: self._stamp(time) for name, time in bounds.items() if time is not None}
        return rule if scheduler.limit is None else {**rule, "limit": scheduler.limit}

    async def _stored(self, scheduler_id: str) -> Stored | None:
        flat = await self._place.command("HGETALL", f"{self._base}repeat:{scheduler_id}")
        fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        score = await self._place.command("ZSCORE", f"{self._base}repeat", scheduler_id)
        if not fields and score is None:
            return None
        try:
            if not fields:
                raise ScheduleError("it is a repeatable job of BullMQ 4 or older: add a job scheduler in its place")
            # a worker of BullMQ 5.81 counts in `ic` for those, too
            if not {"ic", "offset"} <= fields.keys() and score is not None:
                return await self._read_repeatable(scheduler_id, fields, int(float(score)))
            return self._read(scheduler_id, fields, None if score is None else int(float(score)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise ScheduleError(f"scheduler {scheduler_id} can't be read: {reason}") from error

    def _read(self, scheduler_id: str, fields: Mapping[str, str], stamp: int | None) -> Stored:
        """A scheduler from its hash, whoever wrote it."""
        template = _template(fields.get("opts", "{}"))
        start, end = (self._time(float(fields[name])) if name in fields else None for name in ("startDate", "endDate"))
        scheduler = Scheduler(
            scheduler_id,
            self._schedule(fields),
            fields.get("name", ""),
            fields.get("data", "{}"),
            _options(template),
            Missed(fields.get("missed", Missed.SKIP.value)),
            int(fields["limit"]) if "limit" in fields else None,
            start,
            end,
            int(fields.get("ic", 1)),
            None if stamp is None else self._time(stamp),
            None if stamp is None else f"repeat:{scheduler_id}:{stamp}",
        )
        rule = self._rule(scheduler)
        if "pattern" in fields and "tz" not in fields:
            # Node reads it in its own machine's zone: it is left to that
            del rule["tz"]
        return Stored(scheduler, template, rule)

    async def _read_repeatable(self, key: str, fields: Mapping[str, str], stamp: int) -> Stored:
        """A repeatable job of BullMQ 5, from its hash and its present job."""
        job_id = f"repeat:{key}:{stamp}"
        name, data, text = await self._place.command("HMGET", self._base + job_id, "name", "data", "opts")
        opts = _object(text or "{}")
        rule, template = dict(opts.get("repeat") or {}), _template(text or "{}")
        scheduler = Scheduler(
            key,
            self._schedule(fields),
            name or fields.get("name", ""),
            data or "{}",
            _options(template),
            limit=None if rule.get("limit") is None else int(rule["limit"]),
            end=self._time(float(fields["endDate"])) if "endDate" in fields else None,
            iterations=int(rule.get("count") or 1),
            due=self._time(stamp),
            pending=job_id,
        )
        return Stored(scheduler, template, rule)

    def _schedule(self, fields: Mapping[str, str]) -> Cron | Every:
        if "pattern" in fields:
            return Cron(fields["pattern"], fields.get("tz", "UTC"), self.origin)
        every, offset = float(fields["every"]), float(fields.get("offset", 0))
        return Every(every / 1000, offset % every / 1000 if every > 0 else 0.0, self.origin)


def _fields(stored: Stored) -> list[Argument]:
    """A scheduler's hash, in a flat list."""
    scheduler = stored.scheduler
    opts = {key: value for key, value in stored.template.items() if (key, value) != ("attempts", 0)}
    fields = {
        "name": scheduler.name,
        # of a cron line, too, though it has none (BullMQ 6.7)
        "offset": 0,
        **stored.rule,
        "missed": scheduler.missed.value,
    }
    # what says nothing is left out (BullMQ 6.7)
    if opts:
        fields["opts"] = to_json(opts)
    if scheduler.data != "{}":
        fields["data"] = scheduler.data
    return [item for pair in fields.items() for item in pair]


def _template(text: str) -> dict[str, Any]:
    """What the jobs of a scheduler have in common, of the opts of one of them."""
    return {key: value for key, value in _object(text).items() if key not in OF_ONE_JOB}


def _options(template: Mapping[str, Any]) -> JobOptions:
    try:
        return decode_options(to_json(template))
    except ValueError as error:
        raise ValueError(f"its opts: {error}") from error


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"opts is not an object: {text[:100]}")
    return value


# -- Flows on Redis: trees of jobs, on BullMQ's own keys

RULES = {"fail": "fpof", "continue": "cpof", "ignore": "idof", "remove": "rdof"}
"""BullMQ's short names of what a child's failure does."""


class Trees(RedisQueue):
    """Adding flows, and what became of children."""

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add a tree of jobs; see Broker.add_flow."""
        words: list[Argument] = [self._stamp(now)]
        for row in rows:
            words += self._row(row)
        taken: int = await self._run("add_flow", words)
        return taken

    def _row(self, row: FlowRow) -> tuple[Argument, ...]:
        options, rule = row.options, RULES.get(row.on_failure)
        opts = json.loads(encode_options(options, self.origin if options.timestamp is not None else 0.0))
        parent_key = parent = ""
        if row.parent is not None:
            flag = {} if rule is None else {rule: True}
            queue = f"{self.prefix}:{row.parent.queue}"
            opts |= {"parent": {"id": row.parent.id, "queue": queue}, **flag}
            parent_key = f"{queue}:{row.parent.id}"
            parent = to_json({"id": row.parent.id, "queueKey": queue, **flag})
        return (
            self._base_of(row.queue),
            row.id,
            row.name,
            row.data,
            to_json(opts),
            "" if options.timestamp is None else self._stamp(options.timestamp),
            milliseconds(options.delay),
            options.priority,
            "1" if options.lifo else "",
            parent_key,
            parent,
            "1" if row.has_children else "",
        )

    async def children(self, job_id: str) -> Children:
        """What became of a job's children; see Broker.children."""
        values, ignored, failed, pending = await self._run("children", (job_id,))
        return Children(
            {key: parse_json_or_text(value) for key, value in self._by_child(values)},
            dict(self._by_child(ignored)),
            sorted(map(self._child, failed)),
            sorted(map(self._child, pending)),
        )

    def _by_child(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Fields and values of a hash, by child."""
        return sorted((self._child(key), value) for key, value in zip(words[::2], words[1::2], strict=True))

    def _child(self, key: str) -> str:
        return key.removeprefix(f"{self.prefix}:")


# -- The event stream of a queue on Redis

NUMBERS = {"count", "attemptsMade"}
EVENT_KINDS = {kind.value for kind in EventKind}


class EventLog(RedisQueue):
    """Reading what happened."""

    @cached_property
    def _seen(self) -> SeenEvents:
        """What readers of this broker were given: by it a stream that lost its end is told from one that began anew."""
        return SeenEvents()

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events that came after the one of id `after`, oldest first. Their times are the server's own."""
        return (await self.read_events(after, limit)).events

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        """As `events`, and whether any in between may be gone; see Broker.read_events."""
        page = await read_from(read_page(self._base + "events", after, self._seen, limit), self._place.command)
        events = [event for event in (self._event(*entry) for entry in page.entries) if event is not None]
        return EventPage(events, page.complete, page.last)

    def _event(self, stream_id: str, words: list[str]) -> Event | None:
        """None for a kind that we do not know: another version may have more."""
        fields: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
        name = fields.pop("event", None)
        if name not in EVENT_KINDS:
            return None
        job_id = fields.pop("jobId", None)
        for key in NUMBERS & fields.keys():
            fields[key] = _number(int, fields[key])
        if fields.get("prev") in ("wait", "paused"):
            # as it is called where a job is removed, and only there (BullMQ 6.7)
            fields["prev"] = JobState.WAITING.value
        if name == EventKind.DELAYED and "delay" in fields:
            due = _number(float, fields["delay"])
            fields["delay"] = due if isinstance(due, str) else self._time(due)
        milliseconds = int(stream_id.partition("-")[0])
        return Event(event_id(stream_id, words), self._time(milliseconds), EventKind(name), job_id, fields)


def _number(kind: Callable[[str], float], text: str) -> Any:
    """A number of an event; the text itself where another program wrote something else."""
    try:
        return kind(text)
    except ValueError:
        return text


# -- The Redis broker: a queue on BullMQ's own layout, worked by our own Lua scripts

__all__ = ["RedisBroker"]


class RedisBroker(Taking, Managing, Scheduling, Trees, EventLog):
    """A queue on a Redis server, real or not. BullMQ 6 can be on the other end of it.

    Keys, fields, scores, events and markers are BullMQ 6.7's, so that producers and workers of both kinds may share
    the queue. The time is what callers say it is, except where the server alone keeps it: locks, limiter windows and
    deduplication ids expire by the server's clock.
    """
