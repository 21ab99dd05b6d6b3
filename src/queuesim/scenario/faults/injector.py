"""The injector: makes the faults of a scenario happen in a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from queuesim.processor import Processor
from queuesim.scenario.faults import crons, databases, handlers, producers, queues, redis, workers
from queuesim.scenario.faults.connection import Connection
from queuesim.scenario.faults.fault import Fault
from queuesim.scenario.faults.hooks import HandlerHook, disturb
from queuesim.scenario.faults.plant import Plant
from queuesim.scenario.faults.producers import Outbox, ProducerFault
from queuesim.scenario.faults.schema import FaultEntry

if TYPE_CHECKING:
    from queuesim.scenario.overdue import OverdueTasks

FAULTS: Mapping[str, type[Fault]] = {
    "redis.outage": redis.Outage,
    "redis.latency": redis.Latency,
    "redis.drop": redis.Drop,
    "redis.read-only": redis.ReadOnly,
    "redis.failover": redis.Failover,
    "redis.restart": redis.Restart,
    "redis.script-flush": redis.ScriptFlush,
    "queue.pause": queues.Pause,
    "worker.crash": workers.Crash,
    "worker.freeze": workers.Freeze,
    "worker.block": workers.Freeze,
    "worker.slow-start": workers.SlowStart,
    "worker.deploy": workers.Deploy,
    "worker.scale": workers.Scale,
    "worker.clock": workers.ClockSkew,
    "handler.error": handlers.HandlerError,
    "handler.hang": handlers.Hang,
    "handler.slow": handlers.Slow,
    "handler.poison": handlers.PoisonJobs,
    "handler.payload": handlers.Payload,
    "database.outage": databases.Outage,
    "database.slow": databases.SlowQueries,
    "database.pool": databases.ExhaustedPool,
    "database.deadlock": databases.Deadlock,
    "database.lost-commit": databases.LostCommit,
    "cron.missed": crons.MissedTick,
    "cron.twice": crons.TwoSchedulers,
    "cron.overlap": crons.Overlap,
    "producer.duplicate": producers.Duplicates,
    "producer.retry": producers.RetryAfterLostAnswer,
    "producer.burst": producers.Burst,
}
"""What makes each kind happen."""

Launch = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


def named(entries: Sequence[FaultEntry]) -> Iterator[tuple[FaultEntry, str]]:
    """Each fault with the name of its streams: by its kind and number, so that one of another kind shifts nothing."""
    count: dict[str, int] = {}
    for entry in entries:
        count[entry.kind] = number = count.get(entry.kind, 0) + 1
        yield entry, f"fault/{entry.kind}/{number}"


def make_fault(entry: FaultEntry, name: str, plant: Plant, kinds: Mapping[str, type[Fault]]) -> Fault:
    """What makes it happen, ready to run."""
    fault = kinds[entry.kind](entry.kind, entry.settings, plant, name)
    fault.prepare()
    return fault


class Injector:
    """All faults of a run.

    Args:
        entries: the scenario's faults.
        plant: what they can get at.
    """

    kinds = FAULTS

    def __init__(self, entries: Sequence[FaultEntry], plant: Plant) -> None:
        self._plant = plant
        self._tasks: list[asyncio.Task[None]] = []
        self.faults = [make_fault(entry, name, plant, self.kinds) for entry, name in named(entries)]
        plant.fleet.gone = self._gone
        self._connections: dict[str, Connection] = {}

    def _gone(self, member: Any) -> None:
        for guest in self._plant.guests:
            guest(member)
        connection = self._connections.pop(member.name, None)
        if connection is not None:
            connection.close()

    def connect(self, broker: Any, client: str) -> Connection:
        """A new connection of a client to the queue."""
        self._connections[client] = connection = Connection(broker, self._plant.server, client)
        return connection

    def outbox(self, broker: Any, load: str) -> Outbox:
        """What the producer of a load entry adds its jobs through."""
        connection = Connection(broker, self._plant.server, load)
        rng = self._plant.streams.python(f"reconnect/{load}")
        hooks: Any = [fault for fault in self.faults if isinstance(fault, ProducerFault)]
        return Outbox(connection, load, rng, hooks)

    def disturb_overdue(self, overdue: OverdueTasks, job: str) -> None:
        """Let the faults get at the scans of a run, and at the transactions of its store.

        Args:
            job: the type of the jobs whose handlers work on that store.
        """
        overdue.cron_faults = [fault for fault in self.faults if isinstance(fault, crons.CronFault)]
        troubles = [f for f in self.faults if isinstance(f, databases.DatabaseFault) and f.job is None]
        for fault in troubles:
            fault.spared, fault.counted = frozenset({job}), "transactions and attempts"
        cost = overdue.store.cost
        assert cost is not None
        cost.troubles += troubles

    def disturb(self, processor: Processor) -> None:
        """Let the faults get at its handlers."""
        hooks: list[Any] = [fault for fault in self.faults if isinstance(fault, HandlerHook)]
        disturb(processor, hooks)

    def start(self, launch: Launch) -> None:
        """From now on they strike."""
        self._tasks = [launch(fault.run(), fault.name) for fault in self.faults]

    async def end(self) -> None:
        """No more faults: what is on is undone, and what died starts again, unless it never does."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
