"""fakeredis: a Redis in this process with any clock, so that keys expire in virtual time, and the broker of simulations
on it."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.scripts import Script, script
from queuesim.brokers.redis.server import PREFIX, Argument, in_bytes
from queuesim.brokers.redis.stream import EventStreamReader, read_now
from queuesim.core.broker import FlowRow, Observer, Outcome, Reply, Terms
from queuesim.core.clock import Clock, wake
from queuesim.core.job import Job, JobId, JobState, NewJob
from queuesim.extras import need

Image = dict[bytes, tuple[Any, float | None]]
"""The value of every key, and when it expires."""
LASTING = (b":events", b":id")
"""Ends of keys that are part of no image."""
READ_AFTER = 500
"""Calls after which the event stream is read, long before any of it is trimmed."""
UNFINISHED = (
    JobState.WAITING,
    JobState.PRIORITIZED,
    JobState.DELAYED,
    JobState.ACTIVE,
    JobState.WAITING_CHILDREN,
)


class _Time:
    """Replaces the module `time` inside fakeredis: the time of the server that is being asked."""

    def __init__(self) -> None:
        self.clock: Clock | None = None

    def time(self) -> float:
        return time.time() if self.clock is None else self.clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_time = _Time()


class FakeServer:
    """A Redis in memory. Every command is answered at once, so that a simulation stays deterministic.

    Args:
        clock: seconds, by which keys expire and events are stamped; callers of the broker use the same. The running
            loop's time if None.

    Raises:
        MissingExtraError: fakeredis is not installed.
    """

    clock: Clock | None = None
    """None: the callers of the broker supply the time."""
    max_in_flight = 1

    def __init__(self, clock: Clock | None = None) -> None:
        fakeredis = need("fakeredis", "fakeredis", "queues on fakeredis")
        need("lupa", "fakeredis", "queues on fakeredis")
        _divert()
        server = fakeredis.FakeServer(version=(7, 0))
        self._server = server
        server.dbs = defaultdict(lambda: _punctual_database()(server.lock))
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self.client: Any = fakeredis.FakeRedis(
            server=server, decode_responses=True, protocol=2, encoding_errors="surrogateescape"
        )
        """The client of redis-py, for tests. Use it inside `at_its_time`."""
        # a server's own answers, not redis-py's versions of them
        self.client.response_callbacks.clear()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @contextmanager
    def at_its_time(self) -> Iterator[None]:
        """In this block fakeredis goes by this server's clock."""
        before, _time.clock = _time.clock, self._clock
        try:
            yield
        finally:
            _time.clock = before

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        return self.run_now(script, key, arguments)

    async def command(self, *words: Argument) -> Any:
        return self.command_now(*words)

    def run_now(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        """`run` without a loop: nothing here ever waits."""
        from redis.exceptions import NoScriptError

        with self.at_its_time():
            try:
                answer = self._ask("EVALSHA", script.sha, 1, key, *arguments)
            except NoScriptError:
                answer = self._ask("EVAL", script.text, 1, key, *arguments)
        self._serve()
        return answer

    def command_now(self, *words: Argument) -> Any:
        """`command` without a loop."""
        with self.at_its_time():
            answer = self._ask(*words)
        self._serve()
        return answer

    def _ask(self, *words: Argument) -> Any:
        try:
            return self.client.execute_command(*words)
        except UnicodeEncodeError:
            return self.client.execute_command(*in_bytes(words))

    async def block(self, prefix: str, queue: str, until: float | None, now: float) -> None:
        marker = f"{prefix}:{queue}:marker"
        with self.at_its_time():
            if self.client.zpopmin(marker):
                return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting.setdefault(marker, deque())
        waiting.append(waiter)
        timer = None if until is None else loop.call_later(max(until - now, 0.0), wake, waiter)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in waiting:
                waiting.remove(waiter)

    def _serve(self) -> None:
        """Give markers to those that wait for them, first come, first served, as BZPOPMIN does."""
        for marker, waiting in self._waiting.items():
            while waiting:
                with self.at_its_time():
                    if not self.client.zpopmin(marker):
                        break
                wake(waiting.popleft())

    # -- images

    def save(self) -> Image:
        """The present state, without streams of events and counters of ids."""
        database = self._server.dbs[0]
        return {
            key: (copy.deepcopy(database[key].value), database[key].expireat)
            for key in list(database)
            if not key.endswith(LASTING)
        }

    def restore(self, image: Image) -> None:
        """Undo everything that happened since `save`, as if a replica had taken over. An image can be restored once.

        The stream of events goes on, because its listeners have heard it, and no id is given twice.
        """
        from fakeredis._core._database import Item

        database = self._server.dbs[0]
        for key in list(database):
            if not key.endswith(LASTING):
                del database[key]
        for key, (value, expires) in image.items():
            item: Any = Item(value)
            item.expireat = expires
            database[key] = item
        for waiting in self._waiting.values():
            while waiting:
                wake(waiting.popleft())

    async def close(self) -> None:
        self.client.close()


def _divert() -> None:
    """Have fakeredis ask `_time`: it has no clock that could be set. These modules read the time where keys expire and
    streams are stamped."""
    from fakeredis import _helpers
    from fakeredis._socket import _base
    from fakeredis.model import _stream

    for module in (_helpers, _base, _stream):
        if hasattr(module, "time"):
            setattr(module, "time", _time)  # noqa: B010 - to a type checker a module is not to be changed


@cache
def _punctual_database() -> type[Any]:
    """A database whose keys are gone at the instant at which they expire. In fakeredis's own they are still there then,
    which matters to a clock that jumps from event to event."""
    from fakeredis._core._database import Database

    class PunctualDatabase(Database):
        def expired(self, item: Any) -> bool:
            """Whether its time is up."""
            return item.expireat is not None and item.expireat <= self.time

    return PunctualDatabase


class ObservedBroker(RedisBroker):
    """The Redis broker on fakeredis, for a simulation. It reports everything to an observer, as the memory broker does,
    and answers without an event loop, too."""

    def __init__(self, queue: str, server: FakeServer, prefix: str = PREFIX, *, origin: float = 0.0) -> None:
        super().__init__(queue, server, prefix, origin=origin)
        self._fake = server
        self._reader: EventStreamReader | None = None
        self._calls = 0

    def observe(self, observer: Observer) -> None:
        """Report everything that happens from now on to `observer`."""
        self._observer = observer
        self._reader = EventStreamReader(f"{self._base}events", observer, self._time, self.observer_errors)

    @property
    def idle(self) -> bool:
        """No job waits, is delayed or runs."""
        waiting, prioritized, delayed, active, *_ = self._fake.run_now(script("counts"), self._base, ())
        return not (waiting or prioritized or delayed or active)

    def flush(self) -> None:
        """Report the newest events to the observer."""
        self._calls = 0
        if self._reader is not None:
            # nothing is trimmed before it is read, and a fault that removes events removes their jobs with them
            self._reader.report(read_now(self._reader.read_page(), self._fake.command_now))

    def _called(self) -> None:
        self._calls += 1
        if self._calls >= READ_AFTER:
            self.flush()

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        ids = await super().add(jobs, now)
        if self._reader is not None:
            self._reader.expect(ids, jobs, now)
            if len(jobs) > 1 or jobs[0].options.job_id is not None or jobs[0].options.deduplication is not None:
                # find the duplicates among them at once
                self.flush()
                self._reader.expect_no_more()
        self._called()
        return ids

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        taken = await super().add_flow(rows, now)
        if self._reader is not None and not taken:
            mine = [row for row in rows if row.queue == self.queue]
            self._reader.expect([row.id for row in mine], [row.new_job() for row in mine], now)
            self.flush()
        self._called()
        return taken

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        reply = await super().exchange(outcomes, take, terms, token, now, again)
        for job in reply.jobs:
            self._number(job)
        self._called()
        return reply

    def _snapshot(self, row: Sequence[Any]) -> Job:
        job = super()._snapshot(row)
        self._number(job)
        return job

    def _number(self, job: Job) -> None:
        """Number a job with a custom id, by the order of adding."""
        if job.number == 0 and self._reader is not None:
            if job.id not in self._reader.numbers:
                self.flush()
            job.number = self._reader.numbers.get(job.id, 0)

    # -- faults of the server

    def save(self) -> Image:
        """The present state of all queues of the server; see FakeServer.save."""
        self.flush()
        return self._fake.save()

    def restore(self, image: Image) -> None:
        """Undo everything that happened since `save`."""
        self.flush()
        self._fake.restore(image)

    def forget(self) -> None:
        """Lose everything, as a server without persistence does when it restarts."""
        self.restore({})

    async def flush_scripts(self) -> None:
        """Forget all scripts."""
        await self._fake.command("SCRIPT", "FLUSH")

    # -- operations without events

    async def drain(self, delayed: bool, now: float) -> None:
        parents = await self._parents()
        removed = [job_id async for page in self._drained(delayed) for job_id in page]
        self._report_removed([*removed, *sorted(parents - await self._parents())])

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        parents = await self._parents()
        removed = await super().clean(grace, limit, state, now)
        gone = sorted(parents - await self._parents())
        self._report_removed(gone if state in (JobState.COMPLETED, JobState.FAILED) else [*removed, *gone])
        return removed

    async def _parents(self) -> set[str]:
        """The jobs that wait for children: some of them are removed with their children."""
        return {job.id for job in await self.jobs(JobState.WAITING_CHILDREN, 0, -1, True)}

    async def obliterate(self, force: bool, now: float) -> None:
        unfinished = [job.id for state in UNFINISHED for job in await self.jobs(state, 0, -1, True)]
        self.flush()
        await super().obliterate(force, now)
        self._report_removed(unfinished)

    def _report_removed(self, ids: Sequence[str]) -> None:
        self.flush()
        if self._observer is not None and self._reader is not None:
            numbers = [self._reader.numbers[job_id] for job_id in ids]
            self.observer_errors.call(self._observer.removed, numbers)
