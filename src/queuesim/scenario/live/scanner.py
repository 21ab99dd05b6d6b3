"""One scheduler of a live run, as a process of its own: ``python -m queuesim.scenario.live.scanner``.

It reads its orders from standard input, as workers do, and scans for overdue tasks until that ends or says stop. What
it did stands in the task database.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, cast

from queuesim.broker.base import Broker
from queuesim.broker.redis import RedisBroker
from queuesim.broker.redis.address import Address
from queuesim.broker.redis.server import ServerPlace
from queuesim.clock import set_clock
from queuesim.job import JobOptions
from queuesim.live.owner import owner_gone
from queuesim.scenario.live.worker import clock_from, read_orders, run
from queuesim.scenario.overdue_schema import OverdueSettings
from queuesim.scenario.scanner import Scanner
from queuesim.simulation.streams import Streams
from queuesim.tasks.store import TaskStore


@dataclass(frozen=True, slots=True)
class ScanOrders:
    """What a scheduler of a run has to know."""

    settings: OverdueSettings
    options: JobOptions
    """What notifications are added with."""
    name: str
    token: str
    """Its name in this life."""
    database: str
    url: str
    prefix: str
    queue: str
    origin: float
    """Second 0 of the run, in seconds since the Unix epoch."""
    seed: int
    report: int = -1
    """The file descriptor to report to, of which no use is made."""


async def scan(orders: ScanOrders) -> None:
    """Scan until standard input ends. Raises whatever ends it before."""
    clock = clock_from(orders.origin)
    set_clock(clock)
    store = TaskStore(orders.database, connections=orders.settings.database.connections)
    broker = cast(
        Broker, RedisBroker(orders.queue, ServerPlace(Address(orders.url)), orders.prefix, origin=orders.origin)
    )
    parts = [asyncio.create_task(owner_gone())]

    def launch(part: Coroutine[Any, Any, None], name: str) -> None:
        parts.append(asyncio.create_task(part, name=name))

    scanner = Scanner(
        orders.settings,
        store,
        broker,
        orders.options,
        name=orders.token,
        launch=launch,
        rng=Streams(orders.seed).python(f"overdue/{orders.token}"),
        new_key=lambda: token_hex(8),
        clock=clock,
    )
    launch(scanner.run(orders.settings.schedule(orders.origin), broker), orders.token)
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    for part in done:
        part.result()
    # whatever it still does, the run is over
    os._exit(0)


if __name__ == "__main__":
    run(scan(read_orders()))
