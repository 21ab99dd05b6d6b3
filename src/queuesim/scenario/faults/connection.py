"""A client's connection to the server: a broker that faults can get at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from queuesim.clock import sleep
from queuesim.errors import BrokerUnavailableError
from queuesim.scenario.faults.server import Server, outside

if TYPE_CHECKING:
    from queuesim.broker.base import Broker, Outcome, Reply, Terms

LOCAL = frozenset({"queue", "clock", "sibling", "observe", "flush", "idle"})
"""What needs no command."""

MICROSECOND = 1e-6


class Connection:
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
        """See Broker.exchange."""
        return await self._server.serve(
            self.client,
            "exchange",
            lambda: self._broker.exchange(outcomes, take, terms, token, now, again),
        )

    async def wait(self, until: float | None, now: float) -> None:
        """See Broker.wait. Whoever waits when the connection is cut learns of it."""
        self._server.check("wait")
        if until is not None and 0 < until - now < MICROSECOND:
            # by a clock that is wrong, what is left may be lost in rounding, again and again
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
        # since the caller asked, a job may have been put off that is due before what the caller knows of
        if due is None or (until is not None and until <= due):
            await self._broker.wait(until, now)

    def cut(self) -> None:
        """Break the connection: what waits at the server waits no longer."""
        for blocked in list(self._blocked):
            blocked.cancel()

    def close(self) -> None:
        """The client is gone."""
        self.cut()
        if self in self._server.connections:
            self._server.connections.remove(self)
