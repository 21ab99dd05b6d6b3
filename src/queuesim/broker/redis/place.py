"""A place where queues live: what a broker asks of a Redis server, real or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from queuesim.broker.redis.scripts import Script
from queuesim.clock import Clock

Argument = str | int | float


class Place(Protocol):
    """A server, and how to talk to it. Answers are text, numbers, None and lists of them.

    Every method raises BrokerUnavailableError where the server can't be reached or can't serve.
    """

    clock: Clock | None
    """Unix time, where the place is a real server; None: whoever drives the broker knows what time it is."""

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        """Run a script on the keys that begin with `key`. It is loaded when it is new to the server."""
        ...

    async def command(self, *words: Argument) -> Any:
        """Run one command."""
        ...

    async def block(self, marker: str, until: float | None, now: float) -> None:
        """Wait until the sorted set `marker` has a member, take it out and return; or return at `until`, in seconds
        on the queue's clock (None: no limit). May return early for no reason."""
        ...

    async def close(self) -> None:
        """Give back what is held."""
        ...
