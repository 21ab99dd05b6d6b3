"""Redis places for the tests of brokers. Their clock is the test's: it stands still until it is set."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from functools import cache
from typing import Any

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.fake import FakeServer
from queuesim.brokers.redis.scripts import Script
from queuesim.brokers.redis.server import Address, Argument, RealServer
from queuesim.core.broker import Broker
from servers import make_server

GRID = 125
"""Milliseconds: all times and durations of these tests are multiples of it."""


class Clock:
    """The time of a test, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


RESTORE = """
for i = 1, #ARGV, 2 do
  if tonumber(ARGV[i + 1]) > 0 then
    redis.call("PEXPIRE", ARGV[i], ARGV[i + 1])
  else
    redis.call("DEL", ARGV[i])
  end
end
"""
NOTE = """
local expiring = {}
for _, key in ipairs(redis.call("KEYS", "*")) do
  local ttl = redis.call("PTTL", key)
  if ttl >= 0 then
    expiring[#expiring + 1] = key
    expiring[#expiring + 1] = ttl
    redis.call("PERSIST", key)
  end
end
return expiring
"""


class ClockedServer(RealServer):
    """A real server whose keys expire by the test's clock.

    Between two calls nothing expires: when each key is to do so is noted here, and it gets what is left of its time
    only for the moment of a call.
    """

    def __init__(self, address: Address, clock: Clock) -> None:
        super().__init__(address)
        self._clock = clock
        self._expires: dict[str, int] = {}
        """Milliseconds of the test's clock."""

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        answer = await self._at_its_time("EVAL", script.text, 1, key, *arguments)
        if script.name == "exchange" and answer[0] > 0:
            # a real millisecond or two went by
            answer[0] = _on_grid(answer[0])
        return _on_grid(answer) if script.name == "limit" and answer else answer

    async def command(self, *words: Argument) -> Any:
        return await self._at_its_time(*words)

    async def _at_its_time(self, *words: Argument) -> Any:
        now = round(self._clock.now * 1000)
        left = [word for key, time in self._expires.items() for word in (key, time - now)]
        connection = self._idle.pop() if self._idle else await self._open()
        try:
            for command in (("MULTI",), ("EVAL", RESTORE, 0, *left), words, ("EVAL", NOTE, 0), ("EXEC",)):
                await self._send(connection, command)
            for _ in range(4):
                await self._read(connection)
            _, answer, expiring = await self._read(connection)
        finally:
            self._idle.append(connection)
        if isinstance(answer, Exception):
            raise answer
        self._expires = {key: now + _on_grid(ttl) for key, ttl in zip(expiring[::2], expiring[1::2], strict=True)}
        return answer


def _on_grid(milliseconds: int) -> int:
    return -(-milliseconds // GRID) * GRID


@cache
def _server(name: str) -> EmbeddedServer:
    server = make_server(name)
    atexit.register(server.close)
    return server


async def fakeredis(clock: Clock) -> Broker:
    return OwningBroker("tests", FakeServer(clock))


async def real(name: str, clock: Clock) -> Broker:
    place = ClockedServer(Address(_server(name).url), clock)
    await place.command("FLUSHALL")
    return OwningBroker("tests", place)


class OwningBroker(RedisBroker):
    """Closes its place with itself."""

    async def close(self) -> None:
        await self._server.close()
