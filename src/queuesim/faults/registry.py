"""A fault as a scenario writes it: its kind, and when it strikes whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from queuesim.core.processor import Processor
from queuesim.faults import databases, handlers, producers, redis, schedulers, workers
from queuesim.faults.base import Fault, HandlerHook, Plant, disturb
from queuesim.faults.network import Connection
from queuesim.faults.producers import Outbox, ProducerFault
from queuesim.faults.timing import Timing
from queuesim.fields import Section, refuse
from queuesim.text import listing

if TYPE_CHECKING:
    from queuesim.runs.overdue import OverdueTasks


class FaultEntry(Section):
    """One fault: a mapping with one key, its kind."""

    model_config = ConfigDict(serialize_by_alias=True)

    redis_outage: redis.OutageFields | None = Field(None, alias="redis.outage")
    redis_latency: redis.LatencyFields | None = Field(None, alias="redis.latency")
    redis_drop: redis.DropFields | None = Field(None, alias="redis.drop")
    redis_read_only: redis.ReadOnlyFields | None = Field(None, alias="redis.read-only")
    redis_failover: redis.FailoverFields | None = Field(None, alias="redis.failover")
    redis_restart: redis.RestartFields | None = Field(None, alias="redis.restart")
    redis_script_flush: redis.ScriptFlushFields | None = Field(None, alias="redis.script-flush")
    queue_pause: redis.PauseFields | None = Field(None, alias="queue.pause")
    worker_crash: workers.CrashFields | None = Field(None, alias="worker.crash")
    worker_freeze: workers.FreezeFields | None = Field(None, alias="worker.freeze")
    worker_block: workers.Block | None = Field(None, alias="worker.block")
    worker_slow_start: workers.SlowStartFields | None = Field(None, alias="worker.slow-start")
    worker_deploy: workers.DeployFields | None = Field(None, alias="worker.deploy")
    worker_scale: workers.ScaleFields | None = Field(None, alias="worker.scale")
    worker_clock: workers.ClockSkewFields | None = Field(None, alias="worker.clock")
    handler_error: handlers.HandlerErrorFields | None = Field(None, alias="handler.error")
    handler_hang: handlers.HangFields | None = Field(None, alias="handler.hang")
    handler_slow: handlers.SlowFields | None = Field(None, alias="handler.slow")
    handler_poison: handlers.PoisonJobsFields | None = Field(None, alias="handler.poison")
    handler_payload: handlers.PayloadFields | None = Field(None, alias="handler.payload")
    database_outage: handlers.DatabaseOutage | None = Field(None, alias="database.outage")
    database_slow: handlers.SlowQueries | None = Field(None, alias="database.slow")
    database_pool: handlers.ExhaustedPool | None = Field(None, alias="database.pool")
    database_deadlock: handlers.Deadlock | None = Field(None, alias="database.deadlock")
    database_lost_commit: handlers.LostCommit | None = Field(None, alias="database.lost-commit")
    cron_missed: schedulers.MissedTickFields | None = Field(None, alias="cron.missed")
    cron_twice: schedulers.TwoSchedulersFields | None = Field(None, alias="cron.twice")
    cron_overlap: schedulers.OverlapFields | None = Field(None, alias="cron.overlap")
    producer_duplicate: handlers.Duplicates | None = Field(None, alias="producer.duplicate")
    producer_retry: handlers.RetryAfterLostAnswer | None = Field(None, alias="producer.retry")
    producer_burst: handlers.Burst | None = Field(None, alias="producer.burst")

    @property
    def kind(self) -> str:
        """What goes wrong: ``redis.outage``."""
        return KINDS[self._chosen()]

    @property
    def settings(self) -> Timing:
        """When it strikes whom, and whatever else the kind needs."""
        settings: Timing = getattr(self, self._chosen())
        return settings

    def _chosen(self) -> str:
        return next(name for name in KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one(self) -> Any:
        given = [kind for name, kind in KINDS.items() if getattr(self, name) is not None]
        if not given:
            raise refuse(f"which fault is it? One of these keys is needed: {listing(KINDS.values())}")
        if len(given) > 1:
            raise refuse(f"a fault is of one kind: make these a list of several: {listing(given)}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors that there is exactly one key."""
        schema = super().__get_pydantic_json_schema__(core, handler)
        handler.resolve_ref_schema(schema).update({"minProperties": 1, "maxProperties": 1})
        return schema


KINDS = {name: str(field.alias) for name, field in FaultEntry.model_fields.items()}
"""The kinds of faults as files write them, by attribute."""


# -- The injector: makes the faults of a scenario happen in a run

FAULTS: Mapping[str, type[Fault]] = {
    "redis.outage": redis.Outage,
    "redis.latency": redis.Latency,
    "redis.drop": redis.Drop,
    "redis.read-only": redis.ReadOnly,
    "redis.failover": redis.Failover,
    "redis.restart": redis.Restart,
    "redis.script-flush": redis.ScriptFlush,
    "queue.pause": redis.Pause,
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
    "cron.missed": schedulers.MissedTick,
    "cron.twice": schedulers.TwoSchedulers,
    "cron.overlap": schedulers.Overlap,
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
        overdue.cron_faults = [fault for fault in self.faults if isinstance(fault, schedulers.CronFault)]
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
