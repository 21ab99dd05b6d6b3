"""What a database and a distant queue cost in a simulation: virtual time, and a place in a pool of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from queuesim.clock import sleep
from queuesim.job import NewJob
from queuesim.queue import Queue

if TYPE_CHECKING:
    import simpy

Draw = Callable[[], float]
"""Draws a number of seconds."""


class DatabaseModel:
    """A pool of connections, and how long a transaction holds one.

    What a transaction changes is there at the end of that time, all at once: whoever dies before has changed nothing.

    Args:
        latency: draws the seconds that a transaction takes.
        connections: in the pool, over all who use this model.
    """

    def __init__(self, latency: Draw, connections: int = 5) -> None:
        if connections < 1:
            raise ValueError(f"a pool needs 1 connection or more, not {connections}")
        self.latency = latency
        self.connections = connections
        self.transactions = 0
        self.waited = 0.0
        """Seconds that all transactions together waited for a connection."""
        self._pool: simpy.Resource | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Wait for a connection, then for as long as the transaction takes. Raises RuntimeError in real time."""
        import simpy

        from queuesim.simulation.process import running_loop
        from queuesim.simulation.waiting import until

        env = running_loop().env
        if self._pool is None:
            self._pool = simpy.Resource(env, self.connections)
        asked = env.now
        with self._pool.request() as request:
            await until(request)
            self.waited += env.now - asked
            self.transactions += 1
            await sleep(self.latency())
            yield


class DistantQueue(Queue):
    """A queue whose server takes a while to answer: the jobs are in it at the end of that time.

    Args:
        round_trip: draws the seconds of one `add` or `add_bulk`.
    """

    def __init__(self, queue: Queue, round_trip: Draw) -> None:
        super().__init__(queue.broker, defaults=queue.defaults)
        self.round_trip = round_trip

    async def add_bulk(self, jobs: Iterable[NewJob | tuple[str, Any]]) -> list[str]:
        """As `Queue.add_bulk`, a round trip later."""
        await sleep(self.round_trip())
        return await super().add_bulk(jobs)
