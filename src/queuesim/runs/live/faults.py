"""The faults of a live run, and what they need: proxies before the server, and control of the server itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, cast

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.scripts import names
from queuesim.brokers.redis.server import Address, RealServer
from queuesim.core.processor import Processor
from queuesim.core.retry import retry_forever
from queuesim.faults.base import NO_NEEDS, Deadly, Fault, FaultContext, FleetSlot, Need
from queuesim.faults.handlers import HandlerFault
from queuesim.faults.network import Server
from queuesim.faults.registry import FaultEntry, Injector, Launch
from queuesim.results.recording import FaultRow
from queuesim.runs.live.messages import FollowedBroker, StreamFollower
from queuesim.runs.live.processes import LiveFleet, LiveMember
from queuesim.runs.live.proxy import Proxy, Treatment
from queuesim.runs.producers import Producer
from queuesim.scenario.model import BackendError, Scenario
from queuesim.simulation.random import Streams

SPARES = 2
"""Processes that stand by where faults have workers replaced."""


def is_durable(private: EmbeddedServer | None) -> bool:
    """Whether a server has its data again after a restart."""
    return private is not None and private.options.get("appendonly") == "yes"


def needs_of(entries: Iterable[FaultEntry], private: EmbeddedServer | None = None) -> Need:
    """What all faults together need on this server."""
    return reduce(or_, (entry.settings.needs_live(is_durable(private)) for entry in entries), NO_NEEDS)


def check_faults(scenario: Scenario, private: EmbeddedServer | None, url: str, own: Processor | None) -> None:
    """Raise BackendError if the scenario has a fault that can't be had in real time, or not on this server."""
    for entry in scenario.faults:
        kind, needs = entry.kind, entry.settings.needs
        if entry.settings.not_live:
            raise BackendError(
                f"the backend redis can't do {kind}: {entry.settings.not_live}. Play it on sim or fakeredis"
            )
        if Need.PRIVATE_SERVER in needs and private is None:
            raise BackendError(
                f"{kind} is a fault of the whole server, which others may use: say --redis-url embedded for one that "
                "belongs to the run"
            )
        if Need.PROXY in needs and private is None and url.startswith("rediss:"):
            raise BackendError(f"{kind} takes a proxy before the server, which can't look into TLS: give a plain port")
        if Need.PROCESSES in needs and own is not None:
            raise BackendError(
                f"{kind} strikes workers in processes of their own, and a processor object can't be handed to one: "
                'name it in the scenario, as processor: "module:name"'
            )


def spares(entries: Iterable[FaultEntry]) -> int:
    """How many processes are to stand by, with these faults."""
    return SPARES if Need.SPARES in needs_of(entries) else 0


NOBODY = ("127.0.0.1", 1)
"""Where no server listens."""
PAUSE = 60_000
"""Milliseconds for which the server takes no more writes before it is killed."""


class ServerHost:
    """The private server of a run; see RestartableServer.

    Args:
        server: the way to it past all proxies.
    """

    def __init__(
        self, embedded: EmbeddedServer, server: RealServer, stream: StreamFollower, rng: random.Random
    ) -> None:
        self.persistent = is_durable(embedded)
        self._embedded = embedded
        self._server = server
        self._stream = stream
        self._rng = rng
        self._forgot = False

    async def kill(self, forget: bool) -> None:
        self._forgot = forget or not self.persistent
        if self._forgot:
            await self._server.command("CLIENT", "PAUSE", PAUSE, "WRITE")
            await self._stream.read()
        await asyncio.to_thread(self._embedded.crash)
        if forget:
            self._embedded.forget()

    async def start(self) -> None:
        await asyncio.to_thread(self._embedded.start)
        if self._forgot:
            await retry_forever(self._stream.begin_again, self._rng)

    async def follow_nobody(self, follow: bool) -> None:
        words = NOBODY if follow else ("NO", "ONE")
        await retry_forever(lambda: self._server.command("REPLICAOF", *words), self._rng)


class PatientQueue:
    """The queue as faults see it: its operations wait while the server is away."""

    def __init__(self, broker: FollowedBroker, server: RealServer, rng: random.Random) -> None:
        self._broker = broker
        self._server = server
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._broker, name)
        if not asyncio.iscoroutinefunction(member):
            return member
        return lambda *arguments: retry_forever(lambda: member(*arguments), self._rng)

    async def flush_scripts(self) -> None:
        """The server forgets its scripts."""
        await retry_forever(lambda: self._server.command("SCRIPT", "FLUSH"), self._rng)


class LiveFaultContext(FaultContext):
    """A live run as its faults see it."""

    live = True
    fleet: LiveFleet

    def candidates(self) -> list[LiveMember]:
        """Those that take jobs, if there are any: a process that has only just started has nothing to lose."""
        living = [member for member in self.fleet.members if member.alive]
        return [member for member in living if member.ready] or living

    def kill_here(self, fault: Deadly, slot: FleetSlot) -> None:
        """A worker that dies of an attempt kills its own process, and reports it before: see LiveFaults.died."""
        raise NotImplementedError

    def note_active(self, fault: Fault) -> None:
        self.fleet.switch(fault.number, fault.active)

    def note_struck(self, fault: Fault) -> None:
        """The workers report it: see LiveFaults.struck."""


class LiveFaults:
    """All faults of a live run.

    Args:
        address: of the server.
        private: the server itself, if it is the run's own.
        rows: the record of faults.
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
        self.injector: Injector | None = None

    def prepare(
        self,
        fleet: LiveFleet,
        broker: FollowedBroker,
        server: RealServer,
        stream: StreamFollower,
        producers: Mapping[str, Producer],
        streams: Streams,
    ) -> None:
        """Make the faults, before anything of the run starts."""
        self._fleet = fleet
        if not self._entries:
            return
        queue = PatientQueue(broker, server, streams.python("fault/queue"))
        host = None
        if self._private is not None:
            host = ServerHost(self._private, server, stream, streams.python("fault/host"))
        context = LiveFaultContext(queue, fleet, self._server, producers, self._rows, streams)
        context.host = host
        self.injector = Injector(self._entries, context)

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
        if Need.PROXY not in needs_of(self._entries, self._private):
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
        self._began.setdefault(worker, time)
        for member in self._fleet.members:
            member.ready = member.ready or member.name == worker

    def struck(self, fault: int) -> None:
        assert self.injector is not None
        striking = self.injector.faults[fault]
        assert isinstance(striking, HandlerFault)
        striking.count += 1

    def died(self, worker: str, fault: int) -> None:
        assert self.injector is not None
        deadly = self.injector.faults[fault]
        assert isinstance(deadly, Deadly)
        deadly.kill(self._fleet.member(worker))

    def first_beginnings(self) -> Mapping[str, float]:
        """When each worker first took jobs, as it reported."""
        return self._began
