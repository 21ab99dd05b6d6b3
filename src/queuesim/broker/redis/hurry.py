"""Hurry: ends connections whose answers do not come. One timer looks after all of them, for one each would cost as much
as the command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio.connection import Connection

LOOKS = 4
"""How often in the time of one time-out it is looked: an answer may be late by a quarter of it."""


class Hurry:
    """Watches connections that wait for an answer.

    Args:
        timeout: seconds after which a connection is closed; whoever reads from it gets an error.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._since: dict[Connection, int] = {}
        """By connection, how many looks ago its command was sent."""
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def about(self, connection: Connection) -> Iterator[None]:
        """In this block an answer is waited for."""
        self._since[connection] = 0
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.timeout / LOOKS, self._look)
        try:
            yield
        finally:
            del self._since[connection]

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for connection in self._since:
            self._since[connection] += 1
            if self._since[connection] > LOOKS:
                self._closing = loop.create_task(connection.disconnect(nowait=True))
        if self._since:
            self._timer = loop.call_later(self.timeout / LOOKS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
