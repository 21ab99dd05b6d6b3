"""A real Redis or Valkey server as a place."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from queuesim.broker.redis.address import Address, find_address
from queuesim.broker.redis.faults import explain, is_refusal
from queuesim.broker.redis.hurry import Hurry
from queuesim.broker.redis.place import Argument
from queuesim.broker.redis.scripts import Script, names, script
from queuesim.clock import Clock, get_clock
from queuesim.containment import log
from queuesim.errors import BrokerUnavailableError
from queuesim.extras import need

if TYPE_CHECKING:
    from redis.asyncio.connection import Connection, ConnectionPool

logger = logging.getLogger("queuesim.broker")

OLDEST = (6, 2)
"""Our scripts use commands that came with Redis 6.2 (RPOP with a count, LMOVE)."""
TIMEOUT = 10.0
"""Seconds that the server may take to answer a command, or to accept a connection."""
CLOCK_BOUND = 1.0
"""Seconds by which a clock may differ from the server's. Beyond that it is said at connection."""
DAY = 86_400.0
LONGEST_BLOCK = 30.0
"""Seconds after which a blocked connection asks anew. The end of a wait is timed here, not by the server, which looks
at its time-outs only now and then (10 times a second by default)."""


class ServerPlace:
    """A server, with a pool of connections for commands and connections of their own for waiting.

    It reconnects by itself, but repeats no command: whether one took effect before the connection broke is unknown, and
    whoever made it knows what to do. `connect` makes one, and sees whether the server can serve.

    Args:
        address: where it is.
        timeout: seconds that the server may take to answer.

    Raises:
        MissingExtraError: redis-py is not installed.
    """

    clock: Clock | None = staticmethod(time.time)
    """The calendar. Whoever uses a queue here goes by it, unless `queuesim.clock.set_clock` says otherwise."""

    lanes = 2
    """While the server works at one exchange, the worker prepares another."""

    def __init__(self, address: Address, *, timeout: float = TIMEOUT) -> None:
        need("redis", "live", "queues on a Redis server")
        from redis.asyncio import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self.address = address
        self.timeout = timeout
        common: dict[str, Any] = {
            "protocol": 2,
            "decode_responses": True,
            # whatever bytes another program wrote
            "encoding_errors": "surrogateescape",
            "socket_connect_timeout": timeout,
            # a command that may have taken effect is never sent twice behind our back
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
        }
        # redis-py's own time-out makes a task of every command, and by default ends every wait after 5 s
        self._pool: ConnectionPool = ConnectionPool.from_url(address.url, socket_timeout=None, **common)
        self._lanes: list[Connection] = []
        """Connections for commands that nobody uses now."""
        self._blocking: list[Connection] = []
        """Connections for waiting that nobody uses now."""
        self._hurry = Hurry(timeout)
        self._pack = _packer()

    def __repr__(self) -> str:
        return f"<ServerPlace {self.address}>"

    async def check(self) -> None:
        """See whether the server can be used.

        Raises:
            BrokerUnavailableError: it can't be reached, refuses us, is a replica, or too old.
        """
        lines = str(await self.command("INFO")).splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        version = facts.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST:
            raise BrokerUnavailableError(
                f"the server at {self.address} is Redis {version}; queues need {'.'.join(map(str, OLDEST))} or newer"
            )
        if facts.get("role") == "slave" and await self._is_read_only():
            raise explain(Exception("READONLY You can't write against a read only replica."), self.address)

    async def compare_clock(self, clock: Clock) -> None:
        """Log a warning if `clock`, in Unix time, differs from the server's by more than CLOCK_BOUND for certain.

        Raises:
            BrokerUnavailableError: the server can't be reached.
        """
        sent = clock()
        seconds, microseconds = await self.command("TIME")
        received, server = clock(), int(seconds) + int(microseconds) / 1e6
        if sent - server > CLOCK_BOUND:
            self._warn_of_clock(sent - server, "ahead of")
        elif server - received > CLOCK_BOUND:
            self._warn_of_clock(server - received, "behind")

    def _warn_of_clock(self, seconds: float, side: str) -> None:
        cure = "Synchronise the clocks (NTP)"
        if seconds > DAY:
            cure = "It must count seconds since 1970, as the default does: leave out set_clock and clock="
        message = "the clock of this program is %.3f s %s that of %s: jobs start too early or too late. %s"
        log(logger, logging.WARNING, message, seconds, side, self.address, cure)

    async def _is_read_only(self) -> bool:
        try:
            return bool((await self.command("CONFIG", "GET", "replica-read-only"))[1] == "yes")
        except BrokerUnavailableError:
            # it does not tell: the first write will
            return False

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        """See Place.run."""
        from redis.exceptions import NoScriptError

        try:
            return await self.command("EVALSHA", script.sha, 1, key, *arguments)
        except NoScriptError:
            # new to the server, or it forgot: restarted, failed over, or told to (SCRIPT FLUSH)
            return await self.command("EVAL", script.text, 1, key, *arguments)

    async def load_scripts(self) -> None:
        """Load all scripts into the server ahead of their first use.

        Raises:
            BrokerUnavailableError: the server can't be reached or refuses us.
        """
        for name in names().values():
            await self.command("SCRIPT", "LOAD", script(name).text)

    async def command(self, *words: Argument) -> Any:
        """See Place.command."""
        lane = self._lanes.pop() if self._lanes else await self._open(self._pool)
        try:
            await self._send(lane, words)
            with self._hurry.about(lane):
                answer = await self._read(lane)
        finally:
            self._lanes.append(lane)
        return answer

    async def _open(self, pool: ConnectionPool) -> Connection:
        """One more connection. Neither is ever given back: as many are kept as were in use at one time."""
        connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        await self._connect(connection)
        return connection

    async def _connect(self, connection: Connection) -> None:
        from redis.exceptions import RedisError

        connection.introduced = None  # type: ignore[attr-defined]
        try:
            # the first words with the server included: redis-py times the socket alone
            async with asyncio.timeout(self.timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            # refused half-way, it may still be open
            await connection.disconnect()
            if isinstance(error, (RedisError, OSError)):
                raise explain(error, self.address) from error
            raise

    async def _send(self, connection: Connection, words: Sequence[Argument]) -> None:
        from redis.exceptions import RedisError

        if not connection.is_connected:
            await self._connect(connection)
        try:
            await connection.send_packed_command(self._pack(connection, words), check_health=False)
        except (RedisError, OSError) as error:
            raise explain(error, self.address) from error

    async def _read(self, connection: Connection) -> Any:
        from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError, TimeoutError

        try:
            return await connection.read_response()
        except NoScriptError:
            raise
        except (ConnectionError, TimeoutError, OSError) as error:
            raise explain(error, self.address) from error
        except ResponseError as error:
            if is_refusal(error):
                raise explain(error, self.address) from error
            raise
        except RedisError as error:
            raise explain(error, self.address) from error
        except BaseException:
            # cancelled between question and answer: nobody else must read it
            await connection.disconnect(nowait=True)
            raise

    # -- waiting

    async def block(self, marker: str, until: float | None, now: float) -> None:
        """See Place.block."""
        timeout = LONGEST_BLOCK if until is None else min(until - now, LONGEST_BLOCK)
        if timeout <= 0:
            return
        connection = self._blocking.pop() if self._blocking else await self._open(self._pool)
        try:
            client_id = await self._introduce(connection, marker)
            await self._send(connection, ("BZPOPMIN", marker, LONGEST_BLOCK + 1))
            answer = asyncio.ensure_future(self._read(connection))
            try:
                done, _ = await asyncio.wait([answer], timeout=timeout)
                if not done:
                    await self.command("CLIENT", "UNBLOCK", client_id)
            except BaseException:
                answer.cancel()
                await asyncio.wait([answer])
                raise
            await answer
        finally:
            self._blocking.append(connection)

    async def _introduce(self, connection: Connection, marker: str) -> int:
        """Give the connection the name by which BullMQ finds the workers of a queue. Returns its id."""
        if not connection.is_connected:
            await self._connect(connection)
        known: tuple[str, int] | None = getattr(connection, "introduced", None)
        if known is not None and known[0] == marker:
            return known[1]
        prefix, queue, _ = marker.rsplit(":", 2)
        name = f"{prefix}:{base64.b64encode(queue.encode()).decode()}"
        await self._send(connection, ("CLIENT", "SETNAME", name))
        await self._read(connection)
        await self._send(connection, ("CLIENT", "ID"))
        client_id = int(await self._read(connection))
        connection.introduced = (marker, client_id)  # type: ignore[attr-defined]
        return client_id

    async def close(self) -> None:
        """See Place.close."""
        self._hurry.stop()
        for connection in (*self._lanes, *self._blocking):
            await connection.disconnect()


async def connect(url: str | None = None, *, timeout: float = TIMEOUT) -> ServerPlace:
    """The server at `url`, or where the environment says (REDIS_URL, or REDIS_HOST and REDIS_PORT).

    The calendar is the clock of all queues there. If it differs from the server's by more than a second (CLOCK_BOUND),
    so that jobs of this program and of others would start too early or too late, a warning is logged.

    Raises:
        AddressError: that is no address.
        BrokerUnavailableError: the server can't be used; the message says what to do.
    """
    place = ServerPlace(find_address(url), timeout=timeout)
    try:
        await place.check()
        # who may do little else may not ask for the time either
        with suppress(BrokerUnavailableError):
            await place.compare_clock(get_clock() or time.time)
    except BaseException:
        await place.close()
        raise
    return place


def _packer() -> Any:
    """Turns a command into what is sent. hiredis does it ten times as fast as redis-py."""
    try:
        from hiredis import pack_command
    except ImportError:
        return lambda connection, words: connection.pack_command(*words)

    def pack(connection: Connection, words: Sequence[Argument]) -> Any:
        try:
            return pack_command(tuple(words))  # type: ignore[arg-type]
        except UnicodeEncodeError:
            # bytes that another program wrote, as they came
            return connection.pack_command(*words)

    return pack
