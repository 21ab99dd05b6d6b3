"""Faults that are made otherwise on a real server than in a simulation."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.scripts import names
from queuesim.brokers.redis.server import Address, RealServer
from queuesim.core.clock import sleep
from queuesim.core.job import JobState
from queuesim.core.processor import Processor
from queuesim.core.retry import retry_forever
from queuesim.faults.base import Fault, Plant, end
from queuesim.faults.network import Server
from queuesim.faults.producers import Outbox, ProducerFault
from queuesim.faults.registry import FAULTS, FaultEntry, Injector, Launch
from queuesim.faults.timing import ANY, Strike
from queuesim.faults.workers import Deadly
from queuesim.results.recording import FaultRow
from queuesim.runs.live.messages import FollowedBroker, StreamFollower
from queuesim.runs.live.processes import LiveFleet
from queuesim.runs.live.proxy import Proxy, Treatment
from queuesim.runs.producers import Producer
from queuesim.scenario.model import BackendError, Scenario
from queuesim.simulation.random import Streams

if TYPE_CHECKING:
    from queuesim.runs.virtual.fleet import Fleet, Member


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
        fleet: Any = self.plant.fleet
        members: list[Any] = list(self.plant.choose(self.settings.worker, self.rng.choice))
        blocked = [
            (member, member.worker.process, self.plant.note(self.kind, member.name, lasting=True)) for member in members
        ]
        for member, _, _ in blocked:
            fleet.block(member, True)
        try:
            await self.schedule.over(strike)
        finally:
            for member, process, row in blocked:
                # another one may have taken its place
                if member.worker.process is process:
                    fleet.block(member, False)
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


# -- Trouble: the faults of a live run, and what they need: proxies before the server, and a hand on the server itself

NOBODY = ("127.0.0.1", 1)
"""Where no server listens."""
PAUSE = 60_000
"""Milliseconds for which the server takes no more writes before it is killed."""


class ServerHost:
    """The private server of a run; see faults.Host.

    Args:
        place: the way to it past all proxies.
    """

    def __init__(self, server: EmbeddedServer, place: RealServer, watch: StreamFollower, rng: random.Random) -> None:
        self.persistent = server.options.get("appendonly") == "yes"
        self._server = server
        self._place = place
        self._watch = watch
        self._rng = rng
        self._forgot = False

    async def kill(self, forget: bool) -> None:
        """See faults.Host."""
        self._forgot = forget or not self.persistent
        if self._forgot:
            await self._place.command("CLIENT", "PAUSE", PAUSE, "WRITE")
            await self._watch.read()
        await asyncio.to_thread(self._server.crash)
        if forget:
            self._server.forget()

    async def start(self) -> None:
        """See faults.Host."""
        await asyncio.to_thread(self._server.start)
        if self._forgot:
            await retry_forever(self._watch.begin_again, self._rng)

    async def follow_nobody(self, follow: bool) -> None:
        """See faults.Host."""
        words = NOBODY if follow else ("NO", "ONE")
        await retry_forever(lambda: self._place.command("REPLICAOF", *words), self._rng)


class Queue:
    """The queue as faults see it: they wait while the server is away."""

    def __init__(self, broker: FollowedBroker, place: RealServer, rng: random.Random) -> None:
        self._broker = broker
        self._place = place
        self._rng = rng

    async def counts(self) -> Mapping[JobState, int]:
        """See Broker.counts."""
        return await retry_forever(self._broker.counts, self._rng)

    @property
    def queue(self) -> str:
        """Its name."""
        return self._broker.queue

    async def pause(self, now: float) -> None:
        """See Broker.pause."""
        await retry_forever(lambda: self._broker.pause(now), self._rng)

    async def resume(self, now: float) -> None:
        """See Broker.resume."""
        await retry_forever(lambda: self._broker.resume(now), self._rng)

    async def flush_scripts(self) -> None:
        """The server forgets its scripts."""
        await retry_forever(lambda: self._place.command("SCRIPT", "FLUSH"), self._rng)


class LiveInjector(Injector):
    """All faults of a live run."""

    kinds = KINDS

    def outbox(self, broker: Any, load: str) -> Outbox:
        """What the producer of a load entry adds its jobs through. Its connection breaks for real."""
        rng = self._plant.streams.python(f"reconnect/{load}")
        hooks: Any = [fault for fault in self.faults if isinstance(fault, ProducerFault)]
        return Outbox(broker, load, rng, hooks)


class Trouble:
    """What goes wrong in a live run.

    Args:
        address: of the server.
        private: the server itself, if it is the run's own.
        rows: what becomes of faults.
    """

    def __init__(
        self, entries: Sequence[FaultEntry], address: Address, private: EmbeddedServer | None, rows: list[FaultRow]
    ) -> None:
        self._entries = entries
        self._address = address
        self._private = private
        self._rows = rows
        self._server = Server()
        self._proxies: dict[str, Proxy] = {}
        self._began: dict[str, float] = {}
        self.injector: LiveInjector | None = None

    def prepare(
        self,
        fleet: LiveFleet,
        broker: FollowedBroker,
        place: RealServer,
        watch: StreamFollower,
        producers: Mapping[str, Producer],
        streams: Streams,
    ) -> None:
        """Make the faults, before anything of the run starts."""
        self._fleet = fleet
        if not self._entries:
            return
        queue = Queue(broker, place, streams.python("fault/queue"))
        plant = LivePlant(queue, cast("Fleet", fleet), self._server, producers, self._rows, streams)
        if self._private is not None:
            plant.host = ServerHost(self._private, place, watch, streams.python("fault/host"))
        self.injector = injector = LiveInjector(self._entries, plant)
        plant.switched = lambda fault, on: fleet.switch(injector.faults.index(fault), on)

    def start(self, launch: Launch) -> None:
        """From now on faults strike."""
        if self.injector is not None:
            self.injector.start(launch)

    async def end(self) -> None:
        """No more faults."""
        if self.injector is not None:
            await self.injector.end()

    async def close(self) -> None:
        """The run is over."""
        for proxy in self._proxies.values():
            await proxy.close()

    # -- the way to the server

    async def way(self, client: str) -> str:
        """The URL by which a client reaches the server: through a proxy of its own, if a fault needs that."""
        if not takes_proxies(self._entries, self._private):
            return self._address.url
        proxy = self._proxies.get(client)
        if proxy is None:
            self._proxies[client] = proxy = Proxy(
                self._address, treat=lambda words: self._treat(client, words), away=lambda: self._server.away > 0
            )
            await proxy.start()
            self._server.connections.append(cast(Any, proxy))
        return proxy.url

    def _treat(self, client: str, words: list[bytes]) -> Treatment:
        name = words[0].decode(errors="replace").lower()
        if name == "evalsha" and len(words) > 1:
            name = names().get(words[1].decode(errors="replace"), name)
        lose = self._server.broken(client, name)
        return Treatment(lose=lose) if lose else Treatment(self._server.delayed(client))  # type: ignore[arg-type]

    # -- what workers report

    def began(self, worker: str, time: float) -> None:
        """See report.Told."""
        self._began.setdefault(worker, time)
        for member in self._fleet.members:
            member.ready = member.ready or member.name == worker

    def struck(self, fault: int) -> None:
        """See report.Told."""
        assert self.injector is not None
        self.injector.faults[fault].count += 1  # type: ignore[attr-defined]

    def died(self, worker: str, fault: int) -> None:
        """See report.Told."""
        assert self.injector is not None
        deadly = self.injector.faults[fault]
        assert isinstance(deadly, Deadly)
        deadly.kill(self._fleet.member(worker))  # type: ignore[arg-type]

    def first_beginnings(self) -> Mapping[str, float]:
        """When each worker first took jobs, by its own word."""
        return self._began
