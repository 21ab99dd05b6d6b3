"""Reports: what a worker in a process of its own tells the run, a line of JSON for each attempt or limiter window."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.server import RealServer, RedisServer
from queuesim.brokers.redis.stream import EventStreamReader, read_from
from queuesim.core.broker import Completed, Failed, Outcome, Postponed, Retried, Returned
from queuesim.core.errors import ErrorInfo
from queuesim.core.job import Job, JobId, NewJob, number_of
from queuesim.core.retry import retry_forever
from queuesim.results.recorder import Recorder

UNFINISHED = "Unfinished"
LENGTH = struct.Struct("<I")
"""Before the pickled launch that a process reads from standard input."""
READY = b"\n"
"""What a process sends when it can take its launch, and a worker again when it has followed it and waits for "go"."""


class Reporter:
    """Observes a worker and its broker, and writes each attempt down at once: the process may be killed any moment.

    Args:
        file: a file descriptor to write to.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def attempt(
        self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool, skew: float = 0.0
    ) -> None:
        delay, reason, error = None, "", None
        if isinstance(outcome, (Failed, Retried)):
            reason, error = outcome.reason, outcome.error
        if isinstance(outcome, (Retried, Postponed)):
            delay = outcome.delay
        info = None if error is None else (error.type, error.category, error.retryable, error.bug, error.bug_message)
        ending = type(outcome).__name__
        self._write("attempt", worker, slot, *_told(job), ended, ending, delay, reason, info, lost, skew)

    def unfinished(self, worker: str, slot: int, job: Job, skew: float = 0.0) -> None:
        """An attempt is under way when the run ends."""
        self._write("attempt", worker, slot, *_told(job), None, UNFINISHED, None, "", None, False, skew)

    def window(self, opened: float, closes: float, max_jobs: int) -> None:
        self._write("window", opened, closes, max_jobs)

    def ready(self) -> None:
        """The process has followed its launch and waits for "go": see ProcessPool."""
        os.write(self._file, b"\n")

    def began(self, worker: str, time: float) -> None:
        """A worker takes jobs from now on."""
        self._write("began", worker, time)

    def struck(self, fault: int) -> None:
        """A fault struck an attempt of this worker's; `fault` is its place among the scenario's."""
        self._write("struck", fault)

    def died(self, worker: str, fault: int) -> None:
        """A worker is about to die of a fault."""
        self._write("died", worker, fault)

    def _write(self, *row: Any) -> None:
        os.write(self._file, json.dumps(row).encode() + b"\n")


class WorkerListener(Protocol):
    """Called for what happens to workers, beside their attempts; see Reporter."""

    def began(self, worker: str, time: float) -> None: ...

    def struck(self, fault: int) -> None: ...

    def died(self, worker: str, fault: int) -> None: ...


def _told(job: Job) -> tuple[Any, ...]:
    return job.id, job.name, job.attempts_started, job.attempts_made, job.ready_at, job.processed_on


class Reports:
    """Records what workers report, in the order in which it comes; of a job with an id of its own, once it is known.

    Its number is known once the event stream has told that it was added, and a worker may have run it by then.

    Args:
        number_at: the number of the job that had an id at a time; 0: not known.
        listener: called for what concerns the workers themselves.
    """

    def __init__(self, recorder: Recorder, number_at: Callable[[str, float], int], listener: WorkerListener) -> None:
        self._recorder = recorder
        self._number_at = number_at
        self._listener = listener
        self._held: list[list[Any]] = []

    def note(self, line: bytes) -> None:
        """Record what one line reports, or keep it until `record_held`.

        Raises:
            ValueError: it is no report.
        """
        kind, *row = json.loads(line)
        if kind in ("began", "struck", "died"):
            getattr(self._listener, kind)(*row)
        elif kind == "window":
            self._recorder.window(*row)
        elif number := number_of(row[2]):
            _record_attempt(row, self._recorder, number)
        else:
            self._held.append(row)

    @property
    def held(self) -> int:
        """How many reports wait. Those that came before a reading of the event stream can be recorded after it."""
        return len(self._held)

    def record_held(self, count: int) -> None:
        """Record the first `count` of the reports that wait: the event stream was read after they came."""
        ready, self._held = self._held[:count], self._held[count:]
        for row in ready:
            _record_attempt(row, self._recorder, self._number_at(row[2], row[7]))


def _record_attempt(row: list[Any], recorder: Recorder, number: int) -> None:
    worker, slot, job_id, name, started, made, ready, processed_on, ended, ending, delay, reason, info, lost, skew = row
    job = Job(
        job_id,
        name,
        None,
        number=number,
        attempts_started=started,
        attempts_made=made,
        ready_at=ready,
        processed_on=processed_on,
    )
    if ending == UNFINISHED:
        recorder.unfinished(worker, slot, job, skew)
        return
    recorder.attempt(worker, slot, job, ended, _outcome(ending, job_id, delay, reason, info), lost, skew)


def _outcome(kind: str, job_id: str, delay: float | None, reason: str, info: Sequence[Any] | None) -> Outcome:
    error = None if info is None else ErrorInfo(*info)
    if kind == "Failed":
        return Failed(job_id, "", reason, error=error)
    if kind == "Retried":
        return Retried(job_id, "", delay or 0.0, reason, error=error)
    if kind == "Postponed":
        return Postponed(job_id, "", delay or 0.0)
    return Returned(job_id, "") if kind == "Returned" else Completed(job_id, "")


# -- A run's own connection to its queue, and its reader of the event stream

ENTRIES = 5000
"""Entries of the event stream that are read at a time."""
EVENTS_KEPT = 1_000_000
"""Of the run's own stream: more than can come between two looks."""


class StreamFollower:
    """Follows the event stream of a run's queue.

    Args:
        server: reached past all faults of the way to it.
        base: what the queue's keys begin with, the colon included.
        time_of: turns the server's milliseconds since the Unix epoch into seconds since the run began.
    """

    def __init__(self, server: RealServer, base: str, recorder: Recorder, time_of: Callable[[float], float]) -> None:
        self._rng = Random(base)
        self.reader = EventStreamReader(f"{base}events", recorder, time_of)
        self.adding: set[asyncio.Future[None]] = set()
        """Adds that are under way."""
        self._server = server
        self._base = base
        self._reading = asyncio.Lock()

    async def begin(self) -> None:
        """See to it that nothing is trimmed before it is read."""
        await self._server.command("HSET", f"{self._base}meta", "opts.maxLenEvents", EVENTS_KEPT)

    async def begin_again(self) -> None:
        """The server has forgotten everything. No number is given twice: a run's records tell jobs by them."""
        await self._server.command("SET", f"{self._base}id", self.reader.last)
        await self.begin()

    async def read(self) -> None:
        """Read everything that is in the stream when this is called, and may not have been read yet."""
        # two readers at the same time would report the same page
        async with self._reading:
            while await self._read_page() == ENTRIES:
                pass

    async def _read_page(self) -> int:
        """Read a page and return its number of entries."""
        page = await read_from(self.reader.read_page(ENTRIES), self._server.command)
        if self.adding:
            # whose jobs they are is known when the answer has come
            await asyncio.wait(set(self.adding))
        self.reader.report(page)
        return len(page.entries)

    async def held(self, token: str) -> list[str]:
        """The ids of the jobs that are locked with tokens that begin so. Waits while the server is away."""

        async def ask() -> list[str]:
            ids = await self._server.command("LRANGE", f"{self._base}active", 0, -1)
            locks = await self._server.command("MGET", *(f"{self._base}{job_id}:lock" for job_id in ids)) if ids else []
            pairs = zip(ids, locks, strict=True)
            return [job_id for job_id, lock in pairs if lock is not None and lock.startswith(token)]

        return await retry_forever(ask, self._rng)


class FollowedBroker(RedisBroker):
    """The queue as the producers of this process reach it: its adds are known before the event stream tells of them."""

    def __init__(
        self, queue: str, server: RedisServer, prefix: str, *, origin: float, stream: StreamFollower | None = None
    ) -> None:
        super().__init__(queue, server, prefix, origin=origin)
        self._stream = stream

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """Add jobs and return their ids; see Broker.add."""
        if self._stream is None:
            return await super().add(jobs, now)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stream.adding.add(answered)
        try:
            ids = await super().add(jobs, now)
        except BaseException:
            # they may be there all the same
            self._stream.reader.suspect(jobs, now)
            raise
        else:
            self._stream.reader.expect(ids, jobs, now)
            return ids
        finally:
            self._stream.adding.discard(answered)
            answered.set_result(None)
