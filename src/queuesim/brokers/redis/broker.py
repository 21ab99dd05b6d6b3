"""The Redis broker: a queue on BullMQ's own layout, served by our own Lua scripts."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from typing import Any

from queuesim.brokers.redis.codec import (
    StoredScheduler,
    decode_job,
    decode_repeatable,
    decode_scheduler,
    encode_flow_row,
    encode_iteration,
    encode_jobs,
    encode_outcome,
    encode_scheduler,
    milliseconds,
    new_scheduler,
    scheduler_errors,
)
from queuesim.brokers.redis.scripts import script
from queuesim.brokers.redis.server import PREFIX, Argument, RedisServer
from queuesim.brokers.redis.stream import SeenEvents, event_id, read_from, read_page, stamp_of
from queuesim.core.broker import LONGEST_WAIT, Failed, FlowRow, Observer, Outcome, Reply, Terms
from queuesim.core.clock import Clock
from queuesim.core.containment import Contained, log
from queuesim.core.errors import BrokerUnavailableError, JobError, QueueActiveError, QueueNotPausedError
from queuesim.core.events import Event, EventKind, EventPage
from queuesim.core.job import (
    Children,
    ExistingId,
    Job,
    JobId,
    JobState,
    NewJob,
    RateLimit,
    check_queue_name,
    parse_json_or_text,
)
from queuesim.core.scheduler import ScheduleError, Scheduler
from queuesim.core.storable import storable, unstorable

logger = logging.getLogger("queuesim.brokers")

TYPES = {
    **dict.fromkeys(("wait", "active", "paused"), "list"),
    **dict.fromkeys(("prioritized", "delayed", "completed", "failed", "waiting-children", "marker", "repeat"), "zset"),
    **dict.fromkeys(("id", "pc", "limiter", "stalled-check"), "string"),
    "meta": "hash",
    "stalled": "set",
    "events": "stream",
}
"""The types of a queue's keys."""
REMEMBERED = 1000
"""Exchanges whose exact times are remembered, for those that are repeated."""
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
"""The order in the answer of the script `counts`."""
CLEANABLE = COUNTED[:-1]
NUMBERS = {"count", "attemptsMade"}
"""Fields of events."""
EVENT_KINDS = {kind.value for kind in EventKind}


class RedisBroker:
    """A queue on a Redis server, real or not. BullMQ 6 can be on the other end of it.

    Keys, fields, scores, events and markers are BullMQ 6.7's, so that producers and workers of both kinds can share
    the queue. Callers supply the time, except that locks, limiter windows and deduplication ids expire by the server's
    clock. `Broker` says what the methods do.

    Args:
        queue: its name.
        server: where it is.
        prefix: the beginning of all keys. On Redis Cluster it must be a hash tag: "{bull}".
        origin: second 0 of the queue's clock, in seconds since the Unix epoch; 0 for a clock of Unix time.

    Raises:
        ValueError: the name holds a colon, which separates the parts of a key.
    """

    server_now: float | None = None
    """The true time, while an operation comes from a caller whose clock is wrong; None: all clocks agree. A simulation
    sets it: a real server has a clock of its own."""
    _observer: Observer | None = None

    def __init__(self, queue: str, server: RedisServer, prefix: str = PREFIX, *, origin: float = 0.0) -> None:
        check_queue_name(queue)
        self.queue = queue
        self.prefix = prefix
        self.origin = origin
        self.max_in_flight = server.max_in_flight
        """How many exchanges of a worker may be in flight at once."""
        self._server = server
        self._base = f"{prefix}:{queue}:"
        self.clock: Clock | None = None if server.clock is None else self._calendar
        self.observer_errors = Contained(f"the observer of queue {queue}")
        self._asked: dict[tuple[str, int], float] = {}
        """By the token and the time stamp of each of the last exchanges, when it was made: a job in the answer to a
        repeated exchange has only the stamp, in whole milliseconds."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix}:{self.queue}>"

    def sibling(self, queue: str) -> RedisBroker:
        return type(self)(queue, self._server, self.prefix, origin=self.origin)

    async def close(self) -> None:
        """Nothing to do: the server's owner closes it."""

    def _calendar(self) -> float:
        assert self._server.clock is not None
        return self._server.clock() - self.origin

    async def compare_clock(self, clock: Clock) -> None:
        """Log a warning if a clock of this queue's users is not the server's; see RealServer.compare_clock."""
        compare = getattr(self._server, "compare_clock", None)
        if compare is not None:
            await compare(lambda: clock() + self.origin)

    def _stamp(self, time: float) -> int:
        """A time of the queue's clock in milliseconds since the Unix epoch, as in Redis."""
        return milliseconds(time + self.origin)

    def _time(self, stamp: float) -> float:
        """A time in Redis on the queue's clock."""
        return stamp / 1000 - self.origin

    async def _run(self, name: str, arguments: Sequence[Argument] = ()) -> Any:
        from redis.exceptions import ResponseError

        try:
            return await self._server.run(script(name), self._base, arguments)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise BrokerUnavailableError(await self._foreign_key()) from error

    async def _foreign_key(self) -> str:
        """The key of the queue that has a foreign type, and what to do."""
        for name, expected in TYPES.items():
            found = await self._server.command("TYPE", self._base + name)
            if found not in (expected, "none"):
                return (
                    f"the key {self._base}{name} is a {found}, where a queue has a {expected}: another program "
                    "wrote it. Rename or remove it, or give the queue another name or prefix"
                )
        return f"a job of {self._base} has a key of a foreign type: another program wrote it. Remove that job's keys"

    # -- workers: the exchange, locks, stalled jobs, waiting for work

    def observe(self, observer: Observer) -> None:
        """Report every limiter window that an exchange of this broker opens to `observer`."""
        self._observer = observer

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        limiter = terms.limiter
        stamp = self._stamp(now)
        self._remember(token, stamp, now)
        arguments: list[Argument] = [
            stamp,
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
            log(logger, logging.ERROR, message, self.queue, fault)
        reply = Reply()
        reply.jobs = [decode_job(row, self, self.origin, token, self.prefix) for row in rows]
        for job in reply.jobs:
            # more exact than the whole milliseconds of the server
            if not again or job.processed_on is None:
                job.processed_on = now
                job.processed_by = terms.worker
            else:
                job.processed_on = self._asked.get((token, self._stamp(job.processed_on)), job.processed_on)
        if limited >= 0:
            reply.limited_until = now + limited / 1000
        if due >= 0:
            reply.next_due = self._time(due)
        for i in range(0, len(refused), 2):
            reply.refuse(outcomes[refused[i]], refused[i + 1])
        if window >= 0 and self._observer is not None:
            opened = now if self.server_now is None else self.server_now
            self.observer_errors.call(self._observer.window, opened, opened + window / 1000, most)
        return reply

    def _remember(self, token: str, stamp: int, now: float) -> None:
        if len(self._asked) >= REMEMBERED:
            del self._asked[next(iter(self._asked))]
        self._asked[token, stamp] = now

    def _encoded(self, outcome: Outcome) -> tuple[Argument, ...]:
        """An outcome as arguments of the script `exchange`; one that can't be encoded fails its job."""
        try:
            return encode_outcome(outcome, self.prefix)
        except Exception as error:  # noqa: BLE001 - it concerns this job alone: the other outcomes are handed in
            made = outcome.attempts_made
            reason = unstorable(outcome, error)
            failed = Failed(outcome.job_id, outcome.token, reason, attempt=outcome.attempt, attempts_made=made)
            return encode_outcome(failed, self.prefix)

    async def wait(self, until: float | None, now: float) -> None:
        if until is not None and until <= now:
            return
        latest = now + LONGEST_WAIT
        await self._server.block(self.prefix, self.queue, latest if until is None else min(until, latest), now)

    async def renew(self, locks: Sequence[tuple[str, str]], duration: float, now: float) -> list[str]:
        words: list[Argument] = [milliseconds(duration)]
        for lock in locks:
            words += lock
        lost: list[str] = await self._run("renew", words)
        return lost

    async def recover_stalled(self, interval: float, max_stalled: int, now: float) -> list[str]:
        recovered: list[str] = await self._run("recover", (self._stamp(now), milliseconds(interval), max_stalled))
        return recovered

    # -- adding jobs, and flows

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        ids: list[JobId] = []
        for first in range(0, len(jobs), ADDED_AT_ONCE):
            part = jobs[first : first + ADDED_AT_ONCE]
            found, existing = await self._run("add", encode_jobs(part, now, self.origin))
            ids += map(JobId, found)
            for index in existing:
                ids[first + index] = ExistingId(found[index])
        return ids

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        arguments: list[Argument] = [self._stamp(now)]
        for row in rows:
            arguments += encode_flow_row(row, self.prefix, self.origin)
        taken: int = await self._run("add_flow", arguments)
        return taken

    async def children(self, job_id: str) -> Children:
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

    # -- job schedulers: the hash `repeat:<id>` and the sorted set `repeat`

    async def upsert_scheduler(self, scheduler: Scheduler, due: float, now: float) -> str:
        stored = new_scheduler(scheduler, self.origin)
        first = encode_iteration(stored, due, now, 1, self.origin)
        arguments = [self._stamp(now), scheduler.id, *first, *encode_scheduler(stored)]
        return self._scheduled(scheduler.id, due, await self._run("upsert_scheduler", arguments))

    async def advance_scheduler(self, scheduler_id: str, job_id: str, due: float | None, now: float) -> str | None:
        stored = await self._stored(scheduler_id)
        if stored is None:
            return None
        head: list[Argument] = [self._stamp(now), scheduler_id, job_id]
        if due is None:
            await self._run("advance_scheduler", [*head, ""])
            return None
        following = encode_iteration(stored, due, now, stored.scheduler.iterations + 1, self.origin)
        return self._scheduled(scheduler_id, due, await self._run("advance_scheduler", [*head, *following])) or None

    def _scheduled(self, scheduler_id: str, due: float, answer: int | str) -> str:
        """The id of the job that a script added, "" for none. Raises JobError for an error code."""
        if isinstance(answer, int):
            raise JobError(f"repeat:{scheduler_id}:{self._stamp(due)}", answer, "schedule")
        return answer

    async def remove_scheduler(self, scheduler_id: str, now: float) -> bool:
        return bool(await self._run("remove_scheduler", (scheduler_id,)))

    async def scheduler(self, scheduler_id: str) -> Scheduler | None:
        stored = await self._stored(scheduler_id)
        return None if stored is None else stored.scheduler

    async def schedulers(self) -> list[Scheduler]:
        """All of them, the one that is due first at the front. Those that can't be read are left out and logged."""
        found = []
        for scheduler_id in await self._server.command("ZRANGE", f"{self._base}repeat", 0, -1):
            try:
                scheduler = await self.scheduler(scheduler_id)
            except ScheduleError as error:
                log(logger, logging.WARNING, "queue %s: %s", self.queue, error)
                continue
            if scheduler is not None:
                found.append(scheduler)
        return sorted(found, key=lambda s: (math.inf if s.due is None else s.due, s.id))

    async def _stored(self, scheduler_id: str) -> StoredScheduler | None:
        flat = await self._server.command("HGETALL", f"{self._base}repeat:{scheduler_id}")
        fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        score = await self._server.command("ZSCORE", f"{self._base}repeat", scheduler_id)
        if not fields and score is None:
            return None
        with scheduler_errors(scheduler_id):
            if not fields:
                raise ScheduleError("it is a repeatable job of BullMQ 4 or older: add a job scheduler in its place")
            stamp = None if score is None else int(float(score))
            # a worker of BullMQ 5.81 counts in `ic` for repeatable jobs, too
            if stamp is None or {"ic", "offset"} <= fields.keys():
                return decode_scheduler(scheduler_id, fields, stamp, self.origin)
            job = f"{self._base}repeat:{scheduler_id}:{stamp}"
            present = await self._server.command("HMGET", job, "name", "data", "opts")
            return decode_repeatable(scheduler_id, fields, stamp, present, self.origin)

    # -- the queue: pausing, limits, removing many jobs

    async def pause(self, now: float) -> None:
        await self._run("pause", ("1",))

    async def resume(self, now: float) -> None:
        await self._run("pause", ("",))

    async def is_paused(self) -> bool:
        return bool(await self._server.command("HEXISTS", self._base + "meta", "paused"))

    async def set_concurrency(self, limit: int | None, now: float) -> None:
        await self._run("settings", ("concurrency", "" if limit is None else limit))

    async def set_rate_limit(self, limit: RateLimit | None, now: float) -> None:
        if limit is None:
            await self._run("settings", ("max", "", "duration", ""))
        else:
            await self._run("settings", ("max", limit.max, "duration", milliseconds(limit.duration)))

    async def get_rate_limit(self) -> RateLimit | None:
        starts, duration = await self._server.command("HMGET", self._base + "meta", "max", "duration")
        try:
            return None if starts is None else RateLimit(int(starts), int(duration or 0) / 1000)
        except ValueError:
            # another program wrote an invalid limit, which limits nobody
            return None

    async def rate_limit(self, duration: float, now: float) -> None:
        await self._run("limit", ("hold", milliseconds(duration)))

    async def rate_limit_ttl(self, max_jobs: int | None, now: float) -> float:
        ttl: int = await self._run("limit", ("ttl", max_jobs or ""))
        return ttl / 1000

    async def clear_rate_limit(self, now: float) -> None:
        await self._run("limit", ("clear", ""))

    async def drain(self, delayed: bool, now: float) -> None:
        async for _ in self._drained(delayed):
            pass

    async def _drained(self, delayed: bool) -> AsyncIterator[list[str]]:
        """Drain, and give the ids of the jobs of each page."""
        # BullMQ 5 keeps what waits in a list of its own while a queue is paused
        lists = (JobState.WAITING, "paused", JobState.PRIORITIZED, *((JobState.DELAYED,) if delayed else ()))
        for name in lists:
            async for page in self._removed("drain", str(name)):
                yield page

    async def _removed(self, name: str, *arguments: Argument) -> AsyncIterator[list[str]]:
        """Run a script that removes jobs of a state, page by page, and give their ids."""
        at, anchor, count, done = 0, "", 0, 0
        while not done:
            page, at, anchor, done = await self._run(name, (at, anchor, PAGE, count, *arguments))
            count += len(page)
            yield page

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        if state not in CLEANABLE:
            raise ValueError(f"can't clean {state}: choose from {', '.join(CLEANABLE)}")
        pages = self._removed("clean", str(state), self._stamp(now - grace), limit)
        return [job_id async for page in pages for job_id in page]

    async def obliterate(self, force: bool, now: float) -> None:
        while (left := await self._run("obliterate", ("1" if force else "", PAGE))) == 1:
            pass
        if left == -1:
            raise QueueNotPausedError(f"pause queue {self.queue} before you obliterate it")
        if left == -2:
            raise QueueActiveError(f"queue {self.queue} has active jobs: wait for them, or use force")
        await self._forget_deduplication()

    async def _forget_deduplication(self) -> None:
        """Free deduplication ids that are held longer than their jobs are kept."""
        for kind in ("de", "dn"):
            cursor, pattern = "0", f"{_literal(self._base)}{kind}:*"
            while True:
                cursor, keys = await self._server.command("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
                if keys:
                    await self._server.command("DEL", *keys)
                if int(cursor) == 0:
                    break

    # -- looking

    async def counts(self) -> dict[JobState, int]:
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
        """Set when delayed jobs are due, from their scores."""
        ids = [job.id for job in jobs]
        scores = await self._server.command("ZMSCORE", self._base + "delayed", *ids) if ids else ()
        for job, score in zip(jobs, scores, strict=True):
            if score is not None:
                job.ready_at = self._time(float(score) // SCORES_A_MILLISECOND)

    async def get(self, job_id: str) -> Job | None:
        row = await self._run("get", (job_id,))
        return None if row is None else self._snapshot(row)

    def _snapshot(self, row: Sequence[Any]) -> Job:
        return decode_job(row, self, self.origin, "", self.prefix)

    async def state(self, job_id: str) -> JobState | None:
        state = await self._run("state", (job_id,))
        return None if state is None else JobState(state)

    async def logs(self, job_id: str) -> list[str]:
        rows: list[str] = await self._server.command("LRANGE", f"{self._base}{job_id}:logs", 0, -1)
        return rows

    # -- single jobs

    async def _do(self, name: str, job_id: str, doing: str, *arguments: Argument) -> int:
        """Run a script about one job. Raises JobError where it is refused."""
        code: int = await self._run(name, (job_id, *arguments))
        if code < 0:
            raise JobError(job_id, code, doing)
        return code

    async def update_progress(self, job_id: str, progress: str, now: float) -> None:
        await self._write("progress", job_id, "update the progress of", progress)

    async def update_data(self, job_id: str, data: str, now: float) -> None:
        await self._write("data", job_id, "update the data of", data)

    async def log(self, job_id: str, row: str, keep: int | None, now: float) -> int:
        return await self._write("log", job_id, "log to", row, keep)

    async def _write(self, what: str, job_id: str, doing: str, value: str, keep: int | None = None) -> int:
        code: int = await self._run("write", (what, job_id, value, "" if keep is None else keep))
        if code < 0:
            raise JobError(job_id, code, doing)
        return code

    async def retry(self, job_id: str, state: JobState, reset_attempts: bool, now: float) -> None:
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
        await self._do("promote", job_id, "promote")

    async def promote_all(self, now: float) -> int:
        total, moved = 0, PAGE
        while moved >= PAGE:
            moved = await self._run("promote_all", (PAGE,))
            total += moved
        return total

    async def remove(self, job_id: str, now: float) -> None:
        await self._do("remove", job_id, "remove")

    async def change_delay(self, job_id: str, delay: float, now: float) -> None:
        await self._do("change_delay", job_id, "change the delay of", milliseconds(delay), self._stamp(now))

    async def change_priority(self, job_id: str, priority: int, lifo: bool, now: float) -> None:
        await self._do("change_priority", job_id, "change the priority of", priority, "1" if lifo else "")

    async def release_deduplication(self, dedup_id: str, now: float) -> bool:
        held = await self._server.command("DEL", f"{self._base}de:{dedup_id}")
        await self._server.command("DEL", f"{self._base}dn:{dedup_id}")
        return bool(held)

    # -- events

    @cached_property
    def _seen(self) -> SeenEvents:
        """The events that readers of this broker got: they tell a stream that lost its end from one that began anew."""
        return SeenEvents()

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events that came after the one of id `after`, oldest first. Their times are the server's own."""
        return (await self.read_events(after, limit)).events

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        page = await read_from(read_page(self._base + "events", after, self._seen, limit), self._server.command)
        events = [event for event in (self._event(*entry) for entry in page.entries) if event is not None]
        return EventPage(events, page.complete, page.last)

    def _event(self, stream_id: str, words: list[str]) -> Event | None:
        """None for an unknown kind: another version may have more."""
        fields: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
        name = fields.pop("event", None)
        if name not in EVENT_KINDS:
            return None
        job_id = fields.pop("jobId", None)
        for key in NUMBERS & fields.keys():
            fields[key] = _number(int, fields[key])
        if fields.get("prev") in ("wait", "paused"):
            # its name in the event of a removed job, and only there (BullMQ 6.7)
            fields["prev"] = JobState.WAITING.value
        if name == EventKind.DELAYED and "delay" in fields:
            due = _number(float, fields["delay"])
            fields["delay"] = due if isinstance(due, str) else self._time(due)
        return Event(event_id(stream_id, words), self._time(stamp_of(stream_id)), EventKind(name), job_id, fields)


def _number(kind: Callable[[str], float], text: str) -> Any:
    """A number of an event; the text itself where another program wrote something else."""
    try:
        return kind(text)
    except ValueError:
        return text


def _literal(text: str) -> str:
    """Text for MATCH, with its special characters escaped."""
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in text)
