"""The process that started this one, and holds the other end of its standard input."""

from __future__ import annotations

import asyncio
import sys


async def owner_gone() -> None:
    """Return when standard input ends or brings something: the owner has ended, was killed, or says so."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read(1)
