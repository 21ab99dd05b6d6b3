"""Serving the admin API: a database, a queue, and whatever runs beside it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from queuesim.admin.app import Administration, create_app
from queuesim.admin.limits import RequestLimiter
from queuesim.admin.tokens import Verifier
from queuesim.broker.base import Broker
from queuesim.clock import set_clock
from queuesim.deadletters import DeadLetters
from queuesim.queue import Queue
from queuesim.tasks import Outbox, OverdueScan, Relay, TaskService, TaskStore, task_processor
from queuesim.tasks.overdue import count_delivered
from queuesim.worker import Worker

REQUESTS_A_SECOND, BURST = 20.0, 100
"""What one client may ask for."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is served, and where."""

    database: str
    redis_url: str | None
    memory: bool
    queue: str
    work: bool
    host: str
    port: int


def serve(place: Place, verifier: Verifier) -> None:
    """Serve until interrupted. Raises StoreError, BrokerUnavailableError, AddressError."""
    with TaskStore(place.database).opened() as store:
        asyncio.run(_serve(place, verifier, store))


async def _serve(place: Place, verifier: Verifier, store: TaskStore) -> None:
    import uvicorn

    set_clock(time.time)
    broker = await _broker(place)
    application = create_app(assemble(store, broker, verifier, work=place.work))
    config = uvicorn.Config(application, host=place.host, port=place.port, log_level="warning", server_header=False)
    await uvicorn.Server(config).serve()


async def _broker(place: Place) -> Broker:
    if place.memory:
        from queuesim.broker.memory import MemoryBroker

        return MemoryBroker(place.queue)
    from queuesim.broker.redis import RedisBroker
    from queuesim.broker.redis.server import connect

    return RedisBroker(place.queue, await connect(place.redis_url))


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
