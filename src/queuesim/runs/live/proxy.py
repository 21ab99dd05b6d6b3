"""A TCP proxy between one client and its server, on which faults can be played: it delays, cuts, refuses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from queuesim.brokers.redis.server import Address

# -- The Redis protocol, as far as it takes to see where a command or an answer ends

END = b"\r\n"
STRINGS, ELEMENTS, PAIRS = b"$=!", b"*~>", b"%|"
"""Types whose first line tells how many bytes, values or pairs of values follow. All others are one line."""
ALL = STRINGS + ELEMENTS + PAIRS + b"+-:_,#("


class ProtocolError(ValueError):
    """These bytes are no Redis protocol."""


class Frames:
    """Cuts a stream of bytes into whole commands or answers."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return what is whole now, as it came.

        Raises:
            ProtocolError: it is no Redis protocol.
        """
        self._bytes += data
        whole = []
        while self._bytes and (end := _end(self._bytes)) is not None:
            whole.append(bytes(self._bytes[:end]))
            del self._bytes[:end]
        return whole


def _end(data: bytearray) -> int | None:
    """Where the value ends with which the data begin; None: it is not all there."""
    position, missing = 0, 1
    while missing:
        line = data.find(END, position)
        if line < 0:
            return None
        kind, head = data[position], bytes(data[position + 1 : line])
        position = line + len(END)
        missing -= 1
        if kind not in ALL:
            raise ProtocolError(f"{bytes(data[:40])!r} is no Redis protocol")
        if kind in STRINGS + ELEMENTS + PAIRS:
            count = _count(head)
            if kind in STRINGS:
                position += count + len(END) if count >= 0 else 0
            else:
                # what an attribute (|) belongs to follows it
                missing += max(count, 0) * (2 if kind in PAIRS else 1) + (kind in b"|")
    return position if position <= len(data) else None


def _count(head: bytes) -> int:
    try:
        return int(head)
    except ValueError:
        raise ProtocolError(f"{head[:40]!r} is not a number") from None


def words(command: bytes) -> list[bytes]:
    """The words of a whole command: an array of strings."""
    found, position = [], command.index(END) + len(END)
    while position < len(command):
        line = command.index(END, position)
        begin = line + len(END)
        end = begin + int(command[position + 1 : line])
        found.append(command[begin:end])
        position = end + len(END)
    return found


SIZE = 2**16
APART = frozenset(
    (b"HELLO", b"AUTH", b"SELECT", b"CLIENT", b"PING", b"INFO", b"CONFIG", b"TIME", b"BZPOPMIN", b"BLPOP", b"XREAD")
)
"""Commands that are passed on as they come: how a connection begins, and waiting for work."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of one command."""

    delay: float = 0.0
    """Seconds that it takes longer, half of them on the way there, half on the way back."""
    lose: Literal["", "before", "after"] = ""
    """Whether the connection breaks before the command reached the server, or after it took effect."""


PASS = Treatment()
Treat = Callable[[list[bytes]], Treatment]
"""Decides on a command, given as its words."""


class Proxy:
    """Listens on a loopback port of its own and passes everything on.

    Args:
        server: where to.
        treat: decides on each command, but those that begin a connection or wait.
        away: whether the server is not to be reached now: whoever connects is turned away.

    Raises:
        ValueError: the server's address is one of TLS, into which nobody can look.
    """

    def __init__(
        self, server: Address, *, treat: Treat = lambda command: PASS, away: Callable[[], bool] = lambda: False
    ) -> None:
        self._parts = urlsplit(server.url)
        if self._parts.scheme == "rediss":
            raise ValueError(f"there is no proxy for {server}: nobody can look into TLS")
        self._treat = treat
        self._away = away
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Begin to listen."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=SIZE)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        """Where it listens."""

    @property
    def url(self) -> str:
        """The server's URL through it: with the same user, password, database and options."""
        user, at, _ = self._parts.netloc.rpartition("@")
        # a socket's path is no database's number
        path = "" if self._parts.scheme == "unix" else self._parts.path
        netloc = f"{user}{at}127.0.0.1:{self.port}"
        return urlunsplit(self._parts._replace(scheme="redis", netloc=netloc, path=path))

    def cut(self) -> None:
        """Break all connections."""
        for connection in list(self._connections):
            connection.abort()

    async def close(self) -> None:
        """Break all connections, and listen no more."""
        self._listener.close()
        self.cut()
        while self._connections:
            await asyncio.wait([connection.over for connection in self._connections])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away():
            writer.transport.abort()
            return
        try:
            there = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        if self._away():
            writer.transport.abort()
            there[1].transport.abort()
            return
        connection = _Connection((reader, writer), there, self._treat)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            connection.over.set_result(None)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._parts.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._parts.path), limit=SIZE)
        return await asyncio.open_connection(self._parts.hostname, self._parts.port or 6379, limit=SIZE)


class _Connection:
    """One connection of the client, and the one to the server behind it."""

    def __init__(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        treat: Treat,
    ) -> None:
        self._here = here
        self._there = there
        self._treat = treat
        self._asked: deque[Treatment] = deque()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it has ended."""

    def abort(self) -> None:
        """Break it, as a network does: nothing that is under way arrives."""
        self._here[1].transport.abort()
        self._there[1].transport.abort()

    async def run(self) -> None:
        """Pass on what comes from either side, until one of them ends."""
        ways: list[Coroutine[Any, Any, None]] = [self._to_server(), self._to_client()]
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, OSError):
                raise error

    async def _to_server(self) -> None:
        frames = Frames()
        while data := await self._here[0].read(SIZE):
            for command in frames.feed(data):
                said = words(command)
                treatment = PASS if said[0].upper() in APART else self._treat(said)
                if treatment.lose == "before":
                    return
                if treatment.delay:
                    await asyncio.sleep(treatment.delay / 2)
                self._asked.append(treatment)
                self._there[1].write(command)
            await self._there[1].drain()

    async def _to_client(self) -> None:
        frames = Frames()
        while data := await self._there[0].read(SIZE):
            for answer in frames.feed(data):
                treatment = self._asked.popleft() if self._asked else PASS
                # a command that was refused has taken no effect
                if treatment.lose == "after" and not answer.startswith(b"-"):
                    return
                if treatment.delay:
                    await asyncio.sleep(treatment.delay / 2)
                self._here[1].write(answer)
            await self._here[1].drain()
