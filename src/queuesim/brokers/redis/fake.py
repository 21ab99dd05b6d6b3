"""fakeredis as a place: a Redis in this process with any clock, so that keys expire in virtual time."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from queuesim.brokers.redis.scripts import Script
from queuesim.brokers.redis.server import Argument
from queuesim.extras import need

Image = dict[bytes, tuple[Any, float | None]]
"""What every key held, and when it expires."""
LASTING = (b":events", b":id")
"""Ends of keys that are part of no image."""
Clock = Callable[[], float]


class _Time:
    """Stands for the module `time` inside fakeredis: it tells the time of the place that is asked at the moment."""

    def __init__(self) -> None:
        self.clock: Clock | None = None

    def time(self) -> float:
        return time.time() if self.clock is None else self.clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_time = _Time()


class FakePlace:
    """A Redis in memory. Everything happens inline, so a simulation that uses it stays deterministic.

    Args:
        clock: seconds, by which keys expire and events are stamped; whoever drives the broker uses the same. The
            running loop's time if None.

    Raises:
        MissingExtraError: fakeredis is not installed.
    """

    clock: Clock | None = None
    """See Place.clock: in a simulation, time is the loop's."""

    def __init__(self, clock: Clock | None = None) -> None:
        fakeredis = need("fakeredis", "fakeredis", "queues on fakeredis")
        need("lupa", "fakeredis", "queues on fakeredis")
        _divert()
        server = fakeredis.FakeServer(version=(7, 0))
        self._server = server
        server.dbs = defaultdict(lambda: _punctual_database()(server.lock))
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self.client: Any = fakeredis.FakeRedis(server=server, decode_responses=True, protocol=2)
        # answers as a server gives them, not as redis-py shows them
        self.client.response_callbacks.clear()
        """The client of redis-py, for whoever wants to look. Use it inside `at_its_time`."""
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @contextmanager
    def at_its_time(self) -> Iterator[None]:
        """In this block fakeredis tells this place's time."""
        before, _time.clock = _time.clock, self._clock
        try:
            yield
        finally:
            _time.clock = before

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        """See Place.run."""
        return self.run_now(script, key, arguments)

    async def command(self, *words: Argument) -> Any:
        """See Place.command."""
        return self.command_now(*words)

    def run_now(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        """`run` without a loop: nothing here ever waits."""
        from redis.exceptions import NoScriptError

        with self.at_its_time():
            try:
                answer = self.client.evalsha(script.sha, 1, key, *arguments)
            except NoScriptError:
                answer = self.client.eval(script.text, 1, key, *arguments)
        self._serve()
        return answer

    def command_now(self, *words: Argument) -> Any:
        """`command` without a loop."""
        with self.at_its_time():
            answer = self.client.execute_command(*words)
        self._serve()
        return answer

    async def block(self, marker: str, until: float | None, now: float) -> None:
        """See Place.block."""
        with self.at_its_time():
            if self.client.zpopmin(marker):
                return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting.setdefault(marker, deque())
        waiting.append(waiter)
        timer = None if until is None else loop.call_later(max(until - now, 0.0), _release, waiter)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in waiting:
                waiting.remove(waiter)

    def _serve(self) -> None:
        """Give markers to those who wait for them, the first to come first, as BZPOPMIN does."""
        for marker, waiting in self._waiting.items():
            while waiting:
                with self.at_its_time():
                    if not self.client.zpopmin(marker):
                        break
                _release(waiting.popleft())

    # -- images

    def save(self) -> Image:
        """All that it holds now, without streams of events and counters of ids."""
        database = self._server.dbs[0]
        return {
            key: (copy.deepcopy(database[key].value), database[key].expireat)
            for key in list(database)
            if not key.endswith(LASTING)
        }

    def restore(self, image: Image) -> None:
        """Undo everything that happened since `save`, as if a replica had taken over. An image can be restored once.

        The stream of events goes on, for whoever listened has heard; and no id is given a second time, as a real
        server's would be.
        """
        from fakeredis._core._database import Item

        database = self._server.dbs[0]
        for key in list(database):
            if not key.endswith(LASTING):
                del database[key]
        for key, (value, expires) in image.items():
            item: Any = Item(value)
            item.expireat = expires
            database[key] = item
        for waiting in self._waiting.values():
            while waiting:
                _release(waiting.popleft())

    async def close(self) -> None:
        """See Place.close."""
        self.client.close()


def _divert() -> None:
    """Have fakeredis ask `_time`. It has no clock of its own to set; these are the two modules that read it where keys
    expire and streams are stamped."""
    from fakeredis import _helpers
    from fakeredis._socket import _base
    from fakeredis.model import _stream

    for module in (_helpers, _base, _stream):
        if hasattr(module, "time"):
            setattr(module, "time", _time)  # noqa: B010 - to a type checker a module is not to be changed


@cache
def _punctual_database() -> type[Any]:
    """A database whose keys are gone at the instant at which they expire. By fakeredis's they are still there: a clock
    that moves on by itself makes no difference of it, one that jumps from event to event does."""
    from fakeredis._core._database import Database

    class PunctualDatabase(Database):
        def expired(self, item: Any) -> bool:
            """Whether its time is up."""
            return item.expireat is not None and item.expireat <= self.time

    return PunctualDatabase


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
