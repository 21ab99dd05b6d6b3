"""What a database and a distant queue cost in a simulation: virtual time, and a place in a pool of connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from queuesim.core.clock import sleep
from queuesim.core.job import JobId, NewJob
from queuesim.core.queue import Queue

if TYPE_CHECKING:
    import simpy

T = TypeVar("T")
Draw = Callable[[], float]
"""Draws a number of seconds."""


class TransactionFault(Protocol):
    """A fault of a simulated database. What it raises is what the transaction fails with."""

    active: bool
    """Whether it is on."""

    async def begin(self, transaction: object) -> None:
        """A transaction begins; it may be made to wait."""

    async def commit(self, transaction: object) -> None:
        """It is about to do its work and commit: if it fails now, nothing is done."""

    async def answer(self, transaction: object) -> None:
        """It has committed: if it fails now, its work is done all the same."""

    def release(self, transaction: object) -> None:
        """It is over, however it ended."""


class DatabaseModel:
    """A pool of connections, and how long a transaction holds one.

    A transaction's changes appear at the end of that time, all at once: a process that dies before has changed nothing.

    Args:
        latency: draws the seconds that a transaction takes.
        connections: in the pool of each simulated process.
    """

    def __init__(self, latency: Draw, connections: int = 5) -> None:
        if connections < 1:
            raise ValueError(f"a pool needs 1 connection or more, not {connections}")
        self.latency = latency
        self.connections = connections
        self.transactions = 0
        self.waited = 0.0
        """Seconds that all transactions together waited for a connection."""
        self.faults: list[TransactionFault] = []
        self._pools: dict[object, simpy.Resource] = {}
        """By process: what a dead one held is free again."""

    async def transact(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work of a transaction, when it has a connection and its time is over. Raises what it or a fault
        raises."""
        struck, transaction = [fault for fault in self.faults if fault.active], object()
        try:
            for fault in struck:
                await fault.begin(transaction)
            async with self.connection():
                for fault in struck:
                    await fault.commit(transaction)
                value = await work()
            for fault in struck:
                await fault.answer(transaction)
            return value
        finally:
            for fault in struck:
                fault.release(transaction)

    def connection(self) -> Lease:
        """For ``async with``: waits for a connection, then for as long as the transaction takes.

        Raises RuntimeError in real time.
        """
        from queuesim.simulation.process import CURRENT

        process = CURRENT.get()
        pool = self._pools.get(process)
        if pool is None:
            self._pools[process] = pool = self._new_pool()
        return Lease(self, pool)

    def _new_pool(self) -> simpy.Resource:
        import simpy

        from queuesim.simulation.timers import running_loop

        return simpy.Resource(running_loop().env, self.connections)


class Lease:
    """A transaction's hold of a connection. No generator: in a process that is killed, nothing of it is run."""

    def __init__(self, model: DatabaseModel, pool: simpy.Resource) -> None:
        self.model = model
        self._pool = pool
        self._request = pool.request()

    async def __aenter__(self) -> None:
        from queuesim.simulation.environment import until

        env = self._request.env
        try:
            asked = env.now
            await until(self._request)
            self.model.waited += env.now - asked
            self.model.transactions += 1
            await sleep(self.model.latency())
        except BaseException:
            self._give_back()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Also of a request that was not granted yet."""
        self._request.__exit__(None, None, None)


class DistantQueue(Queue):
    """A queue whose server takes a while to answer: the jobs are in it at the end of that time.

    Args:
        round_trip: draws the seconds of one `add` or `add_bulk`.
    """

    def __init__(self, queue: Queue, round_trip: Draw) -> None:
        super().__init__(queue.broker, defaults=queue.defaults)
        self.round_trip = round_trip

    async def add_bulk(self, jobs: Iterable[NewJob | tuple[str, Any]]) -> list[JobId]:
        """As `Queue.add_bulk`, a round trip later."""
        await sleep(self.round_trip())
        return await super().add_bulk(jobs)
