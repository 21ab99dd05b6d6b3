"""The test bed of the claims: a backend, a database, and which features are switched on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from queuesim.admin.api import create_app
from queuesim.admin.guard import Administration
from queuesim.admin.tokens import Verifier
from queuesim.core.broker import Broker
from queuesim.core.clock import now, set_clock
from queuesim.core.deadletters import DeadLetters, redrives_of
from queuesim.core.job import Backoff, Job, JobId, JobOptions, Keep, RateLimit
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker, WorkerOptions
from queuesim.error import QueuesimError
from queuesim.tasks.outbox import AfterCommit, Outbox, Relay, drained
from queuesim.tasks.overdue import OverdueScan, count_delivered
from queuesim.tasks.queries import notified
from queuesim.tasks.store import TaskStore, fill, temporary_database
from queuesim.tasks.task_service import TaskService, task_processor

BACKENDS = ("sim", "fakeredis", "redis")
FEATURES = (
    "limiter", "validation", "retention", "job ids", "outbox", "deduplication", "cron", "roles", "retry", "categories",
    "dead letters", "stalled check",
)  # fmt: skip
"""What can be switched off, to see that its points go with it."""
LONG = 60.0
"""Seconds within which a claim is seen in real time, if ever."""


class EvaluationError(QueuesimError):
    """There is no such backend or feature."""


class ClaimError(Exception):
    """What a claim says was not seen."""


def expect(holds: object, otherwise: str) -> None:
    """Raise ClaimError with what was seen instead, unless the evidence holds."""
    if not holds:
        raise ClaimError(otherwise)


@dataclass
class Fixture:
    """One task service, for one claim."""

    bed: ServiceTestBed
    store: TaskStore
    broker: Any
    processor: Processor
    queue: Queue
    relay: Relay
    service: TaskService
    delivery: Any
    letters: DeadLetters

    @property
    def unit(self) -> float:
        """A second, or what stands for one in real time."""
        return self.bed.unit

    def scan(self, **settings: Any) -> OverdueScan:
        """A scanner of overdue tasks."""
        return OverdueScan(self.store, self.queue, self.delivery, **settings)

    def add_overdue(self, count: int) -> None:
        """Add tasks that are overdue on every backend: due at second 0 of the queue's clock."""
        self.store.run_now(lambda connection: fill(connection, [0.0] * count))

    def notified(self) -> Counter[int]:
        """How many notifications each task has."""
        return Counter(task for task, _, _ in self.store.run_now(notified))

    def worker(self, name: str = "worker", **settings: Any) -> Worker:
        """A worker of the fixture's processor."""
        return Worker(self.processor, self.broker, name=name, clock=self.bed.clock, **settings)

    @asynccontextmanager
    async def working(self, count: int = 1, **settings: Any) -> AsyncIterator[None]:
        """Let workers work, and the relay."""
        workers = [self.worker(f"worker-{n}", **settings) for n in range(count)]
        tasks = [asyncio.create_task(worker.run()) for worker in workers]
        relaying = asyncio.create_task(self.relay.run())
        try:
            yield
        finally:
            await asyncio.gather(*(worker.close(5.0) for worker in workers))
            for task in (*tasks, relaying):
                task.cancel()
            await asyncio.gather(*tasks, relaying, return_exceptions=True)

    async def work_off(self) -> None:
        """Let one worker work until nothing is left to do."""
        async with self.working():
            await self.drained()

    async def run_jobs(self, handler: Callable[[Job], Awaitable[None]], data: Iterable[object] = (None,)) -> None:
        """Give jobs of a type of their own to a handler, one for each of the data, and work them off."""
        await self.add_jobs(handler, data)
        await self.work_off()

    async def add_jobs(self, handler: Callable[[Job], Awaitable[None]], data: Iterable[object]) -> list[JobId]:
        """Add such jobs and return their ids."""
        self.processor.job("probe")(handler)
        return await self.queue.add_bulk([("probe", each) for each in data])

    async def until(self, seen: Callable[[], bool], patience: float) -> None:
        """Wait until `seen` is true, for at most `patience` seconds, or a minute in real time."""
        until = now() + (LONG if self.bed.live else patience)
        while not seen() and now() < until:  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(self.unit)

    async def drained(self) -> None:
        """Wait until nothing is left to do."""
        await drained(self.queue, self.relay, self.unit)


@dataclass
class ServiceTestBed:
    """Where claims are tried.

    Args:
        backend: sim and fakeredis run in virtual time, redis in real time, where 1 s of a claim is 20 ms.
        database: a PostgreSQL database, in which each claim has a schema of its own; None: SQLite, in memory in virtual
            time and a file in real time.
        redis_url: of the server, for the backend redis; None: what the environment says.
        without: features that are switched off.

    Raises:
        EvaluationError: there is no such backend or feature.
    """

    backend: str = "sim"
    database: str | None = None
    redis_url: str | None = None
    without: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise EvaluationError(f'there is no backend "{self.backend}"; choose from: {", ".join(BACKENDS)}')
        for feature in self.without - set(FEATURES):
            raise EvaluationError(f'there is no feature "{feature}"; choose from: {", ".join(FEATURES)}')
        self._fixtures = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """For as long as the block, with its server: a private one, unless one is named or the environment has one.

        Raises:
            AddressError, BrokerUnavailableError: the server can't be used.
            MissingExtraError: it takes what is not installed.
        """
        if not self.live:
            yield
            return
        from queuesim.brokers.redis.server import connect
        from queuesim.runs.live.engine import server

        async def reach() -> None:
            await (await connect(self.redis_url)).close()

        given = self.redis_url
        with server(given) as (self.redis_url, _):
            asyncio.run(reach())
            yield
        self.redis_url = given

    def has(self, feature: str) -> bool:
        """Whether a feature is switched on."""
        return feature not in self.without

    @property
    def live(self) -> bool:
        """Whether time is real."""
        return self.backend == "redis"

    @property
    def unit(self) -> float:
        """Seconds that stand for one second."""
        return 0.02 if self.live else 1.0

    @property
    def clock(self) -> Callable[[], float] | None:
        """The queue's clock, where it is not the event loop's."""
        return time.time if self.live else None

    def try_out(self, claim: Callable[[Fixture], Awaitable[str]]) -> str:
        """Run a claim's check on a fixture of its own and return its evidence. Raises what the check raises."""
        if self.live:
            return asyncio.run(asyncio.wait_for(self._scene(claim), 2 * LONG))
        from queuesim.simulation.runner import run

        return run(self._scene(claim))

    async def _scene(self, claim: Callable[[Fixture], Awaitable[str]]) -> str:
        set_clock(self.clock)
        self._fixtures += 1
        place, broker = await self._broker(f"evaluation-{time.time_ns() if self.live else self._fixtures}")
        try:
            with self._store() as store:
                return await claim(self._fixture(store, broker))
        finally:
            if self.live:
                letters = dead_letters_of(broker.queue)
                for name in (broker.queue, letters, redrives_of(letters)):
                    queue = broker.sibling(name)
                    await queue.pause(time.time())
                    await queue.obliterate(True, time.time())
            if place is not None:
                await place.close()

    @contextmanager
    def _store(self) -> Iterator[TaskStore]:
        """An empty task store, for as long as the block."""
        if self.database is None and not self.live:
            with TaskStore().opened() as store:
                yield store
            return
        with temporary_database(self.database) as url, TaskStore(url).opened() as store:
            yield store

    async def _broker(self, name: str) -> tuple[Any, Any]:
        if self.backend == "sim":
            from queuesim.brokers.memory import MemoryBroker

            return None, MemoryBroker(name)
        from queuesim.brokers.redis.broker import RedisBroker

        if self.backend == "fakeredis":
            from queuesim.brokers.redis.fake import FakeServer

            fake = FakeServer()
            return fake, RedisBroker(name, fake)
        from queuesim.brokers.redis.server import connect

        place = await connect(self.redis_url)
        return place, RedisBroker(name, place)

    def _fixture(self, store: TaskStore, broker: Broker) -> Fixture:
        processor = task_processor(store, queue=broker.queue, **self._settings(broker.queue))
        if not self.has("validation"):
            for job_type in list(processor.types.values()):
                processor.add(type(job_type)(job_type.name, job_type.handler, None, job_type.is_async))
        queue = Queue(broker, defaults=processor.defaults)
        relay = Relay(store, queue, interval=60 * self.unit, settle=count_delivered)
        delivery: Any = Outbox(relay.wake) if self.has("outbox") else AfterCommit(queue)
        service = TaskService(store, queue, delivery)
        letters = DeadLetters(broker, dead_letters_of(broker.queue))
        return Fixture(self, store, broker, processor, queue, relay, service, delivery, letters)

    def _settings(self, queue: str) -> dict[str, Any]:
        """The queue's configuration, in the test bed's time, without what is switched off."""
        attempts = 3 if self.has("retry") else 1
        settings: dict[str, Any] = {
            "limiter": RateLimit(100, 60.0 * self.unit) if self.has("limiter") else None,
            "defaults": JobOptions(attempts=attempts, backoff=Backoff("exponential", self.unit)),
            "dead_letters": dead_letters_of(queue) if self.has("dead letters") else None,
        }
        if not self.has("retention"):
            settings |= {"keep_completed": Keep(), "keep_failed": Keep()}
        if not self.has("categories"):
            from queuesim.core.errors import UNKNOWN, ErrorRule

            settings["rules"] = (ErrorRule(BaseException, UNKNOWN),)
        return settings


def dead_letters_of(queue: str) -> str:
    """The name of a queue's dead letters."""
    return f"{queue}-dead"


STALLED = WorkerOptions(lock_duration=3.0, stalled_interval=3.0)
"""How a worker keeps its jobs where a claim has workers die."""


# -- Requests to the admin API inside this process, for claims in virtual time

SECRET = "the evaluation's own secret, of 32 bytes or more"
VERIFIER = Verifier("HS256", "evaluation", "queuesim-admin", secret=SECRET)


def token(roles: list[str]) -> str:
    """A token with these roles. Tokens are checked in real time, whatever the queue's clock says."""
    import jwt

    claims = {"sub": "ann", "iss": "evaluation", "aud": "queuesim-admin", "exp": time.time() + 60, "roles": roles}
    return jwt.encode(claims, SECRET, "HS256")


async def post(fixture: Fixture, path: str, bearer: str | None) -> int:
    """The status of the answer to a POST without a body."""
    admin = Administration(
        fixture.queue,
        fixture.letters,
        fixture.store,
        fixture.service,
        fixture.scan(),
        VERIFIER,
        clock=fixture.bed.clock,
    )
    headers = [] if bearer is None else [(b"authorization", f"Bearer {bearer}".encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    status = 0

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await create_app(admin)(scope, receive, send)
    return status
