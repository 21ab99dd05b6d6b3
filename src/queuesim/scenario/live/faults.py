"""Faults that are made otherwise on a real server than in a simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from queuesim.clock import sleep
from queuesim.live.embedded import EmbeddedServer
from queuesim.processor import Processor
from queuesim.scenario.backends import BackendError
from queuesim.scenario.faults.fault import Fault
from queuesim.scenario.faults.injector import FAULTS
from queuesim.scenario.faults.plant import Plant, end
from queuesim.scenario.faults.schedule import Strike
from queuesim.scenario.faults.schema import FaultEntry
from queuesim.scenario.faults.timing_schema import ANY
from queuesim.scenario.schema import Scenario

if TYPE_CHECKING:
    from queuesim.scenario.fleet import Member


class Host(Protocol):
    """The private server of a run, as its faults need it."""

    persistent: bool
    """Whether it has its data again when it starts again."""

    async def kill(self, forget: bool) -> None:
        """Kill its process; what it has on disk goes, too, if it is to forget."""
        ...

    async def start(self) -> None:
        """Start it again."""
        ...

    async def follow_nobody(self, follow: bool) -> None:
        """Make it a replica of a server that is not there, or a primary again."""
        ...


class LivePlant(Plant):
    """A live run, as its faults see it."""

    host: Host

    def choose(self, who: str, draw: Callable[[list[Member]], Member]) -> list[Member]:
        """See Plant.choose. Where one is drawn, it is one that takes jobs, if there is any: a process that has only
        just started has nothing to lose."""
        ready: list[Any] = [member for member in self.fleet.members if member.alive and getattr(member, "ready", True)]
        return [draw(ready)] if who == ANY and ready else super().choose(who, draw)


class ReadOnly(Fault):
    """The server becomes a replica of one that is not there: it keeps its data and refuses writes."""

    plant: LivePlant

    async def strike(self, strike: Strike) -> None:
        row = self.plant.note(self.kind, "", lasting=True)
        await self.plant.host.follow_nobody(True)
        try:
            await self.schedule.over(strike)
        finally:
            await self.plant.host.follow_nobody(False)
            end(row)


class Restart(Fault):
    """The server's process is killed by SIGKILL, and started again."""

    plant: LivePlant

    async def strike(self, strike: Strike) -> None:
        host, forget = self.plant.host, self.settings.empty
        lost = forget or not host.persistent
        if lost:
            # what it was told until then is read before
            self.plant.server.go_away()
        await host.kill(forget)
        detail = "its memory is lost" if lost else "killed by SIGKILL"
        row = self.plant.note(self.kind, "", detail, lasting=True, lost=math.inf if lost else None)
        try:
            await sleep(self.settings.down)
        finally:
            await host.start()
            if lost:
                self.plant.server.come_back()
                await self.plant.restore_pause()
            end(row)


class Block(Fault):
    """The event loops of workers are held, from inside."""

    async def strike(self, strike: Strike) -> None:
        crew: Any = self.plant.fleet
        members: list[Any] = list(self.plant.choose(self.settings.worker, self.rng.choice))
        blocked = [
            (member, member.hand.process, self.plant.note(self.kind, member.name, lasting=True)) for member in members
        ]
        for member, _, _ in blocked:
            crew.block(member, True)
        try:
            await self.schedule.over(strike)
        finally:
            for member, process, row in blocked:
                # another one may have taken its place
                if member.hand.process is process:
                    crew.block(member, False)
                end(row)


KINDS = {**FAULTS, "redis.read-only": ReadOnly, "redis.restart": Restart, "worker.block": Block}
"""What makes each kind happen in real time."""

WAY = ("redis.outage", "redis.latency", "redis.drop")
"""Faults of the way to the server: they take proxies."""
PRIVATE = ("redis.read-only", "redis.restart", "redis.script-flush")
"""Faults of the server itself: nobody else may use it."""
INSIDE = ("worker.", "handler.", "database.")
"""Faults of workers, and inside of them: each has to be a process of its own."""
REPLACING = ("worker.crash", "worker.deploy", "worker.scale", "handler.payload")
"""Faults after which other processes take the places of workers."""
SPARES = 2
"""Processes that stand by where faults have workers replaced."""
IMPOSSIBLE = {
    "redis.failover": "it takes a replica that lags behind by just so much, and the ids of the jobs that it has "
    "not got are given again, so that nobody could tell which job is which",
    **dict.fromkeys(
        (kind for kind in FAULTS if kind.startswith("cron.")),
        "its schedulers are processes of their own, whose clocks nobody can get at",
    ),
}
"""Faults that can't be had in real time, and why."""


def takes_proxies(entries: Sequence[FaultEntry], private: EmbeddedServer | None) -> bool:
    """Whether clients have to go through proxies."""
    return any(entry.kind in WAY or _forgets(entry, private) for entry in entries)


def _forgets(entry: FaultEntry, private: EmbeddedServer | None) -> bool:
    if entry.kind != "redis.restart":
        return False
    return entry.redis_restart is not None and (entry.redis_restart.empty or not is_persistent(private))


def is_persistent(private: EmbeddedServer | None) -> bool:
    """Whether a server has its data again when it starts again."""
    return private is not None and private.options.get("appendonly") == "yes"


def needs_persistence(entries: Sequence[FaultEntry]) -> bool:
    """Whether the server is to have its data again when it starts again."""
    return any(entry.redis_restart is not None and not entry.redis_restart.empty for entry in entries)


def check_faults(scenario: Scenario, private: EmbeddedServer | None, url: str, own: Processor | None) -> None:
    """Raise BackendError if the scenario has a fault that can't be had in real time, or not on this server."""
    for entry in scenario.faults:
        kind = entry.kind
        if kind in IMPOSSIBLE:
            raise BackendError(f"the backend redis can't do {kind}: {IMPOSSIBLE[kind]}. Play it on sim or fakeredis")
        if kind in PRIVATE and private is None:
            raise BackendError(
                f"{kind} is a fault of the whole server, which others may use: say --redis-url embedded for one that "
                "belongs to the run"
            )
        if kind in WAY and private is None and url.startswith("rediss:"):
            raise BackendError(f"{kind} takes a proxy before the server, which can't look into TLS: give a plain port")
        if own is not None and kind.startswith(INSIDE):
            raise BackendError(
                f"{kind} strikes workers in processes of their own, and a processor object can't be handed to one: "
                'name it in the scenario, as processor: "module:name"'
            )


def spares(entries: Sequence[FaultEntry]) -> int:
    """How many processes are to stand by, with these faults."""
    return SPARES if any(entry.kind in REPLACING for entry in entries) else 0
