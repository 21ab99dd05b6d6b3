"""All kinds of faults: as entries of a scenario, and at work in a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, create_model, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

import queuesim.faults
from queuesim.core.processor import Processor
from queuesim.faults.base import KINDS, AttemptHook, Fault, FaultContext, disturb
from queuesim.faults.databases import DatabaseFault
from queuesim.faults.network import FaultyConnection
from queuesim.faults.producers import Outbox, ProducerFault
from queuesim.faults.schedulers import CronFault, Scans
from queuesim.fields import Section, refuse
from queuesim.text import listing

FAMILIES = ("redis", "workers", "handlers", "awaits", "databases", "schedulers", "producers")
"""The order of the kinds in documentation and schema: by these modules, then by whatever else is in the folder."""


def _registered() -> Mapping[str, type[Fault]]:
    """All kinds of faults, by name. Each module of this folder registers its own as it is imported."""
    found = [module.name for module in iter_modules(queuesim.faults.__path__)]
    modules = [f"{queuesim.faults.__name__}.{name}" for name in dict.fromkeys([*FAMILIES, *found])]
    for module in modules:
        if module != __name__:
            import_module(module)
    return dict(sorted(KINDS.items(), key=lambda kind: modules.index(kind[1].__module__)))


FAULTS = _registered()
"""The kinds of faults, by the names that scenarios write."""


def survivable() -> list[str]:
    """The kinds that a soak draws: those that have random settings which a queue must survive."""
    return [kind for kind, cls in FAULTS.items() if cls.draw is not Fault.draw]


def attribute_of(kind: str) -> str:
    """Where a `FaultEntry` has the settings of a kind."""
    return kind.replace(".", "_").replace("-", "_")


if TYPE_CHECKING:
    OneOfAll = Section
else:
    OneOfAll = create_model(
        "OneOfAll",
        __base__=Section,
        **{attribute_of(kind): (cls | None, Field(None, alias=kind)) for kind, cls in FAULTS.items()},
    )


class FaultEntry(OneOfAll):
    """One fault: a mapping with one key, its kind."""

    model_config = ConfigDict(serialize_by_alias=True)

    @property
    def settings(self) -> Fault:
        """The fault itself."""
        return self._given()[0]

    @property
    def kind(self) -> str:
        """What goes wrong: ``redis.outage``."""
        return self.settings.kind

    def _given(self) -> list[Fault]:
        values = (getattr(self, attribute_of(kind)) for kind in FAULTS)
        return [value for value in values if value is not None]

    @model_validator(mode="after")
    def _one(self) -> Any:
        given = [fault.kind for fault in self._given()]
        if not given:
            raise refuse(f"which fault is it? One of these keys is needed: {listing(FAULTS)}")
        if len(given) > 1:
            raise refuse(f"a fault is of one kind: make these a list of several: {listing(given)}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors that there is exactly one key."""
        schema = super().__get_pydantic_json_schema__(core, handler)
        handler.resolve_ref_schema(schema).update({"minProperties": 1, "maxProperties": 1})
        return schema


# -- The faults of a run

Launch = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
F = TypeVar("F", bound=Fault)


def bind(entries: Sequence[FaultEntry], context: FaultContext, kind: type[F]) -> Iterator[F]:
    """Those faults of a run that are of one class. Streams are named by kind and number, so that no fault of another
    kind shifts them."""
    count: dict[str, int] = {}
    for place, entry in enumerate(entries):
        count[entry.kind] = number = count.get(entry.kind, 0) + 1
        fault = entry.settings
        if isinstance(fault, kind):
            yield fault.bind(context, f"fault/{entry.kind}/{number}", place)


class OverdueScans(Scans, Protocol):
    """The overdue tasks of a simulation, as faults act on them."""

    store: Any
    cron_faults: Sequence[CronFault]


class Injector:
    """All faults of a run.

    Args:
        entries: the scenario's faults.
        context: what they can get at.
    """

    def __init__(self, entries: Sequence[FaultEntry], context: FaultContext) -> None:
        self._context = context
        self._tasks: list[asyncio.Task[None]] = []
        self._connections: dict[str, FaultyConnection] = {}
        self.faults = list(bind(entries, context, Fault))
        context.fleet.gone = self._gone

    def _gone(self, slot: Any) -> None:
        """A worker has ended or died."""
        for fault in self.faults:
            fault.worker_gone(slot)
        connection = self._connections.pop(slot.name, None)
        if connection is not None:
            connection.close()

    def _of(self, kind: type[F]) -> list[F]:
        return [fault for fault in self.faults if isinstance(fault, kind)]

    def connect(self, broker: Any, client: str) -> FaultyConnection:
        """A new connection of a worker, or of another client, to the queue."""
        self._connections[client] = connection = FaultyConnection(broker, self._context.server, client)
        return connection

    def outbox(self, broker: Any, load: str) -> Outbox:
        """What the producer of a load entry adds its jobs through. In real time its connection breaks by itself."""
        connection = broker if self._context.live else FaultyConnection(broker, self._context.server, load)
        return Outbox(connection, load, self._context.streams.python(f"reconnect/{load}"), self._of(ProducerFault))

    def disturb_overdue(self, overdue: OverdueScans, job: str) -> None:
        """Let the faults act on the scans of a run, and on the transactions of its store.

        Args:
            job: the type of the jobs whose handlers work on that store.
        """
        overdue.cron_faults = self._of(CronFault)
        transactions = [fault for fault in self._of(DatabaseFault) if fault.job is None]
        for fault in transactions:
            fault.spared, fault.counted = frozenset({job}), "transactions and attempts"
        overdue.store.cost.faults += transactions

    def disturb(self, processor: Processor) -> None:
        """Let the faults act on its handlers."""
        disturb(processor, self._of(AttemptHook))

    def start(self, launch: Launch) -> None:
        """From now on they strike."""
        self._tasks = [launch(fault.run(), fault.name) for fault in self.faults]

    async def end(self) -> None:
        """No more faults: what is on is undone, and what died starts again, unless it never does."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
