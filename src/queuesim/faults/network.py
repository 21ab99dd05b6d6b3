"""The server as its clients see it through faults: away, read-only, slow, or with connections that break."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from queuesim.core.clock import get_clock, now, set_clock, sleep
from queuesim.core.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from queuesim.core.broker import Broker, Outcome, Reply, Terms

T = TypeVar("T")

READING = frozenset(
    {
        *("counts", "jobs", "children", "events", "get", "state", "logs", "is_paused", "rate_limit_ttl"),
        *("get_rate_limit", "wait"),
    }
)
"""Commands that change nothing."""


@dataclass(slots=True)
class Delay:
    """Commands of a client take longer."""

    client: str
    chance: float
    seconds: Callable[[], float]
    rng: random.Random
    commands: int = 0
    """Number of commands that it has delayed."""
    settled: float = 0.0
    """When the last of them is over."""


@dataclass(slots=True)
class Break:
    """The connection of a client breaks on some commands."""

    client: str
    chance: float
    effect: str
    rng: random.Random
    struck: Callable[[str, str], object]
    """Called for each broken command: the client, and what happened."""


class Server:
    """What stands between clients and the queue while faults are on."""

    def __init__(self) -> None:
        self.away = 0
        """Outages that are on."""
        self.read_only = 0
        """Faults that are on by which it refuses writes."""
        self.delays: list[Delay] = []
        self.breaks: list[Break] = []
        self.connections: list[FaultyConnection] = []
        self._flights: set[asyncio.Task[Any]] = set()

    def go_away(self) -> None:
        """An outage begins: nobody reaches it, and whoever waits at it is notified at once."""
        self.away += 1
        for connection in self.connections:
            connection.cut()

    def come_back(self) -> None:
        """An outage ends."""
        self.away -= 1

    def check(self, command: str) -> None:
        """Raise BrokerUnavailableError unless the server would serve this command now."""
        if self.away:
            raise BrokerUnavailableError("connection refused: the server is away")
        if self.read_only and command not in READING:
            raise BrokerUnavailableError("READONLY You can't write against a read only replica.")

    async def serve(self, client: str, command: str, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Execute a client's command. Raises BrokerUnavailableError if a fault breaks it."""
        self.check(command)
        lost = self.broken(client, command)
        if lost == "before":
            raise BrokerUnavailableError("the connection broke before the command was sent")
        delay = self.delayed(client)
        answer = await (self._far(command, delay, operation) if delay else operation())
        if lost:
            raise BrokerUnavailableError("the connection broke before the answer came")
        return answer

    def delayed(self, client: str) -> float:
        """Seconds that a client's next command takes longer."""
        total, struck = 0.0, []
        for delay in self.delays:
            if delay.client in (client, "all") and (delay.chance >= 1 or delay.rng.random() < delay.chance):
                delay.commands += 1
                total += delay.seconds()
                struck.append(delay)
        for delay in struck:
            delay.settled = max(delay.settled, now() + total)
        return total

    def broken(self, client: str, command: str) -> str:
        """Whether the connection breaks on this command, and when: "before" or "after" it takes effect, or ""."""
        for fault in self.breaks:
            if fault.client in (client, "all") and fault.rng.random() < fault.chance:
                effect = fault.effect if fault.effect != "either" else fault.rng.choice(("before", "after"))
                fault.struck(client, f"{command}, {effect} it took effect")
                return effect
        return ""

    async def _far(self, command: str, delay: float, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Half of the delay is on the way there, half on the way back. A command that is under way arrives even if its
        sender is frozen or dead by then."""

        async def fly() -> T:
            await asyncio.sleep(delay / 2)
            self.check(command)
            answer = await operation()
            await asyncio.sleep(delay / 2)
            self.check("wait")
            return answer

        flight = outside(fly())
        self._flights.add(flight)
        flight.add_done_callback(self._landed)
        return await asyncio.shield(flight)

    def _landed(self, flight: asyncio.Task[Any]) -> None:
        self._flights.discard(flight)
        if not flight.cancelled():
            flight.exception()  # retrieved: there may be nobody left who awaits it


def outside(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that belongs to no process: it goes on when the process that started it is frozen or dead."""
    context = Context()
    context.run(set_clock, get_clock())
    return asyncio.get_running_loop().create_task(coroutine, context=context)


LOCAL = frozenset({"queue", "clock", "sibling", "observe", "flush", "idle"})
"""Members of a broker that send no command."""

MICROSECOND = 1e-6


class FaultyConnection:
    """A broker as one client reaches it.

    Args:
        client: whose it is: a worker's name, or a load entry's.
    """

    def __init__(self, broker: Broker, server: Server, client: str) -> None:
        self._broker = broker
        self._server = server
        self.client = client
        self._blocked: set[asyncio.Task[None]] = set()
        server.connections.append(self)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._broker, name)
        if name in LOCAL or not callable(member):
            return member
        return self._command(name, member)

    def _command(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        async def command(*arguments: Any, **named: Any) -> Any:
            return await self._server.serve(self.client, name, lambda: operation(*arguments, **named))

        return command

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        return await self._server.serve(
            self.client,
            "exchange",
            lambda: self._broker.exchange(outcomes, take, terms, token, now, again),
        )

    async def wait(self, until: float | None, now: float) -> None:
        """See Broker.wait. Raises BrokerUnavailableError when the connection is cut meanwhile."""
        self._server.check("wait")
        if until is not None and 0 < until - now < MICROSECOND:
            # a wrong clock may round the rest to nothing, again and again
            await sleep(MICROSECOND)
            return
        blocked = outside(self._wait(until, now))
        self._blocked.add(blocked)
        try:
            await asyncio.wait([blocked])
            if blocked.cancelled():
                raise BrokerUnavailableError("the connection broke while it waited for work")
            blocked.result()
        finally:
            self._blocked.discard(blocked)
            blocked.cancel()

    async def _wait(self, until: float | None, now: float) -> None:
        first_due = getattr(self._broker, "first_due", None)
        due = None if first_due is None else first_due()
        # meanwhile a job may have been delayed that is due before the caller's next one
        if due is None or (until is not None and until <= due):
            await self._broker.wait(until, now)

    def cut(self) -> None:
        """Break the connection: nothing waits at the server any longer."""
        for blocked in list(self._blocked):
            blocked.cancel()

    def close(self) -> None:
        """The client is gone."""
        self.cut()
        if self in self._server.connections:
            self._server.connections.remove(self)
