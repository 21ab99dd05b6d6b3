"""Trouble: the faults of a live run, and what they need: proxies before the server, and a hand on the server itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from queuesim.broker.redis.address import Address
from queuesim.broker.redis.scripts import names
from queuesim.broker.redis.server import ServerPlace
from queuesim.job import JobState
from queuesim.live.embedded import EmbeddedServer
from queuesim.live.proxy import Proxy, Treatment
from queuesim.metrics.recording import FaultRow
from queuesim.persistence import persist
from queuesim.scenario.faults.injector import Injector, Launch
from queuesim.scenario.faults.producers import Outbox, ProducerFault
from queuesim.scenario.faults.schema import FaultEntry
from queuesim.scenario.faults.server import Server
from queuesim.scenario.faults.workers import Deadly
from queuesim.scenario.live.crew import Crew
from queuesim.scenario.live.faults import KINDS, LivePlant, takes_proxies
from queuesim.scenario.live.watch import Watch, WatchedBroker
from queuesim.scenario.producers import Producer
from queuesim.simulation.streams import Streams

if TYPE_CHECKING:
    from queuesim.scenario.fleet import Fleet

NOBODY = ("127.0.0.1", 1)
"""Where no server listens."""
PAUSE = 60_000
"""Milliseconds for which the server takes no more writes before it is killed."""


class ServerHost:
    """The private server of a run; see faults.Host.

    Args:
        place: the way to it past all proxies.
    """

    def __init__(self, server: EmbeddedServer, place: ServerPlace, watch: Watch, rng: random.Random) -> None:
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
            await persist(self._watch.begin_again, self._rng)

    async def follow_nobody(self, follow: bool) -> None:
        """See faults.Host."""
        words = NOBODY if follow else ("NO", "ONE")
        await persist(lambda: self._place.command("REPLICAOF", *words), self._rng)


class Queue:
    """The queue as faults see it: they wait while the server is away."""

    def __init__(self, broker: WatchedBroker, place: ServerPlace, rng: random.Random) -> None:
        self._broker = broker
        self._place = place
        self._rng = rng

    async def counts(self) -> Mapping[JobState, int]:
        """See Broker.counts."""
        return await persist(self._broker.counts, self._rng)

    @property
    def queue(self) -> str:
        """Its name."""
        return self._broker.queue

    async def pause(self, now: float) -> None:
        """See Broker.pause."""
        await persist(lambda: self._broker.pause(now), self._rng)

    async def resume(self, now: float) -> None:
        """See Broker.resume."""
        await persist(lambda: self._broker.resume(now), self._rng)

    async def flush_scripts(self) -> None:
        """The server forgets its scripts."""
        await persist(lambda: self._place.command("SCRIPT", "FLUSH"), self._rng)


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
        crew: Crew,
        broker: WatchedBroker,
        place: ServerPlace,
        watch: Watch,
        producers: Mapping[str, Producer],
        streams: Streams,
    ) -> None:
        """Make the faults, before anything of the run starts."""
        self._crew = crew
        if not self._entries:
            return
        queue = Queue(broker, place, streams.python("fault/queue"))
        plant = LivePlant(queue, cast("Fleet", crew), self._server, producers, self._rows, streams)
        if self._private is not None:
            plant.host = ServerHost(self._private, place, watch, streams.python("fault/host"))
        self.injector = injector = LiveInjector(self._entries, plant)
        plant.switched = lambda fault, on: crew.switch(injector.faults.index(fault), on)

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
        for member in self._crew.members:
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
        deadly.kill(self._crew.member(worker))  # type: ignore[arg-type]

    def first_beginnings(self) -> Mapping[str, float]:
        """When each worker first took jobs, by its own word."""
        return self._began
