"""The server as its clients see it through faults: away, read-only, slow, or with connections that break."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from queuesim.clock import get_clock, now, set_clock
from queuesim.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from queuesim.scenario.faults.connection import Connection

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
    """How many it has delayed."""
    settled: float = 0.0
    """When the last of them is over."""


@dataclass(slots=True)
class Break:
    """The connection of a client breaks on some commands."""

    client: str
    chance: float
    effect: str
    rng: random.Random
    struck: Callable[[str, str], None]
    """Told of each: the client, and what happened."""


class Server:
    """What stands between clients and the queue while faults are on."""

    def __init__(self) -> None:
        self.away = 0
        """So many outages are on."""
        self.read_only = 0
        self.delays: list[Delay] = []
        self.breaks: list[Break] = []
        self.connections: list[Connection] = []
        self._flights: set[asyncio.Task[Any]] = set()

    def go_away(self) -> None:
        """Nobody reaches it from now on; whoever waits at it learns of it at once."""
        self.away += 1
        for connection in self.connections:
            connection.cut()

    def come_back(self) -> None:
        """The end of one outage."""
        self.away -= 1

    def check(self, command: str) -> None:
        """Raise BrokerUnavailableError unless the server would serve this command now."""
        if self.away:
            raise BrokerUnavailableError("connection refused: the server is away")
        if self.read_only and command not in READING:
            raise BrokerUnavailableError("READONLY You can't write against a read only replica.")

    async def serve(self, client: str, command: str, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have a client's command served, or not."""
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
        """Half of the delay on the way there, half on the way back. What is under way arrives, even if its sender
        is frozen or dead by then."""

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
            flight.exception()  # nobody may be left to hear of it


def outside(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that belongs to no process: it goes on when the one that asked for it is frozen or dead."""
    context = Context()
    context.run(set_clock, get_clock())
    return asyncio.get_running_loop().create_task(coroutine, context=context)
