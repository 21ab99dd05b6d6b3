"""Serving the admin API: a database, a queue, and whatever runs beside it."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast

from queuesim.admin.administration import Administration
from queuesim.admin.api import create_app
from queuesim.admin.guard import RequestLimiter
from queuesim.admin.tokens import Verifier
from queuesim.core.broker import Broker
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import DeadLetters
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker
from queuesim.tasks.handlers import task_processor
from queuesim.tasks.outbox import Outbox, Relay
from queuesim.tasks.overdue import OverdueScan, count_delivered
from queuesim.tasks.store import TaskStore
from queuesim.tasks.task_service import TaskService

REQUESTS_A_SECOND, BURST = 20.0, 100
"""What one client may ask for."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What is served, and where."""

    database: str
    redis_url: str | None
    memory: bool
    queue: str
    work: bool
    host: str
    port: int


def serve(place: ServeOptions, verifier: Verifier, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one cuts requests off that are under way.

    Args:
        tell: is told the address, as soon as it answers there.

    Raises:
        StoreError, BrokerUnavailableError, AddressError: the database or the queue can't be used.
        OSError: the port can't.
    """
    with TaskStore(place.database).opened() as store:
        asyncio.run(_serve(place, verifier, store, tell))


async def _serve(place: ServeOptions, verifier: Verifier, store: TaskStore, tell: Callable[[str], None]) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """One that leaves signals to us: uvicorn's own raises them again when it has ended."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Catch none."""
            yield

    set_clock(time.time)
    async with _broker(place) as broker:
        application = create_app(assemble(store, broker, verifier, work=place.work))
        server = Server(uvicorn.Config(application, log_level="warning", server_header=False))

        def stop() -> None:
            server.force_exit = server.should_exit
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        with socket.create_server((place.host, place.port), family=family) as listener:
            host = f"[{place.host}]" if ":" in place.host else place.host
            tell(f"http://{host}:{listener.getsockname()[1]}")
            await server.serve(sockets=[listener])


@asynccontextmanager
async def _broker(place: ServeOptions) -> AsyncIterator[Broker]:
    if place.memory:
        from queuesim.brokers.memory import MemoryBroker

        yield MemoryBroker(place.queue)
        return
    from queuesim.brokers.redis.broker import RedisBroker
    from queuesim.brokers.redis.server import connect

    server = await connect(place.redis_url)
    try:
        yield cast(Broker, RedisBroker(place.queue, server))
    finally:
        await server.close()


def assemble(
    store: TaskStore, broker: Broker, verifier: Verifier, *, work: bool, limited: bool = True
) -> Administration:
    """The task service around a store and a queue: its relay, and a worker if there is to be one."""
    processor = task_processor(store, queue=broker.queue)
    queue = Queue(broker, defaults=processor.defaults)
    relay = Relay(store, queue, settle=count_delivered)
    delivery = Outbox(relay.wake)
    beside = [relay.run]
    if work:
        beside.append(Worker(processor, broker, name="admin", clock=time.time).run)
    return Administration(
        queue=queue,
        letters=DeadLetters(broker, f"{broker.queue}-dead"),
        store=store,
        service=TaskService(store, queue, delivery),
        scan=OverdueScan(store, queue, delivery, owner="administrator"),
        verifier=verifier,
        limiter=RequestLimiter(REQUESTS_A_SECOND, BURST) if limited else None,
        clock=time.time,
        beside=beside,
    )
