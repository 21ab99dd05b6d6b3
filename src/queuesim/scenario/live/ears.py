"""Ears: what a worker's process is told by the run that started it, a line of JSON each on standard input."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from collections.abc import Callable, Mapping
from typing import Any

STDIN = 0


class Ears(asyncio.Protocol):
    """Obeys what it hears, until standard input ends. ``["block"]`` holds the event loop until ``["unblock"]``.

    Args:
        obey: what to do, by the first word of a line; called with the others.
    """

    def __init__(self, obey: Mapping[str, Callable[..., object]]) -> None:
        self.over = asyncio.get_running_loop().create_future()
        """Done when the run is over, or whoever started this process has died."""
        self._obey = obey
        self._heard = b""
        self._blocks = 0

    async def listen(self) -> None:
        """Begin to listen."""
        await asyncio.get_running_loop().connect_read_pipe(lambda: self, sys.stdin)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._understand(data)
        # as a handler would that waits without await: nothing else runs until the word comes
        while self._blocks and not self.over.done():
            select.select([STDIN], [], [])
            more = os.read(STDIN, 65536)
            if not more:
                self._end()
            self._understand(more)

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end()

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _understand(self, data: bytes) -> None:
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            word, *more = json.loads(line)
            if word == "block":
                self._blocks += 1
            elif word == "unblock":
                self._blocks -= 1
            else:
                self._obey[word](*more)


async def listen(obey: Mapping[str, Callable[..., Any]]) -> asyncio.Future[None]:
    """Begin to listen. The future is done when the run is over."""
    ears = Ears(obey)
    await ears.listen()
    return ears.over
