"""The Lua scripts as they are put together, and what an exchange of one job asks of the server."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import pytest
from redisservers import Clock

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.brokers.redis.scripts import FUNCTION, RARELY, Script, names, script
from queuesim.brokers.redis.server import Argument
from queuesim.core.broker import Completed, Terms
from queuesim.core.job import NewJob

SOURCES = {
    file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
    for file in (files("queuesim.brokers.redis") / "lua").iterdir()
}
RARE_BLOCK = re.compile(r"^local \w+ = rarely\(function\(\).*?^end\)$", re.MULTILINE | re.DOTALL)
DEFERRED = sorted({name for text in SOURCES.values() for found in RARELY.findall(text) for name in found.split(", ")})


@pytest.mark.parametrize("name", DEFERRED)
def test_functions_that_are_rarely_needed_exist(name: str) -> None:
    """A name that is not there would be noticed by the job that needs it, and by nobody before."""
    defined = set(FUNCTION.findall(SOURCES[name]))
    called = {found for text in SOURCES.values() for found in re.findall(rf"\b{name}\.(\w+)\(", text)}
    assert called
    assert called <= defined


def test_every_kind_of_outcome_has_its_function() -> None:
    kinds = {"F", "R", "P", "B"}
    assert {f"outcome_{kind}" for kind in kinds} <= set(FUNCTION.findall(SOURCES["exceptions"]))


@pytest.mark.parametrize("name", sorted(names().values()))
def test_no_script_has_a_function_twice_where_both_are_seen(name: str) -> None:
    """Outside of what is deferred, each function is defined once."""
    always = re.sub(
        r"^local \w+ = rarely\(function\(\).*?^end\)$", "", script(name).text, flags=re.MULTILINE | re.DOTALL
    )
    functions = FUNCTION.findall(always)
    assert len(functions) == len(set(functions))


def test_an_exchange_defines_what_most_exchanges_need() -> None:
    """A server defines the functions of a script anew at each call, which takes it as long as the commands."""
    text = script("exchange").text
    always = RARE_BLOCK.sub("", text)
    assert len(FUNCTION.findall(always)) < 70 < len(FUNCTION.findall(text))


NOTED = """
local redis = (function(real)
  local function noted(call)
    return function(...)
      real.call("RPUSH", "noted", (...))
      return call(...)
    end
  end
  return { call = noted(real.call), pcall = noted(real.pcall) }
end)(redis)
"""


class NotingServer:
    """Another place, which notes the commands of its exchanges."""

    def __init__(self, place: FakeServer) -> None:
        self.place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        if script.name == "exchange":
            text = NOTED + script.text
            script = Script(script.name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
        return await self.place.run(script, key, arguments)


def test_the_commands_of_an_exchange_of_one_job() -> None:
    async def commands() -> list[str]:
        place = FakeServer(Clock())
        broker = RedisBroker("q", NotingServer(place))  # type: ignore[arg-type]
        await broker.add([NewJob("a"), NewJob("a")], 0.0)
        (job,) = (await broker.exchange([], 1, Terms(), "t:1", 0.0)).jobs
        await place.command("DEL", "noted")
        reply = await broker.exchange([Completed(job.id, job.token)], 1, Terms(), "t:2", 0.0)
        assert len(reply.jobs) == 1
        return list(await place.command("LRANGE", "noted", 0, -1))

    read = ["HMGET", "ZINTER", "LLEN", "MGET", "EXISTS"]
    given_back = ["XTRIM", "HMGET", "LREM", "HSET", "XADD", "DEL", "SREM", "ZADD"]
    taken = ["ZRANGEBYSCORE", "RPOP", "LPUSH", "HMGET", "SET", "XADD", "HSET", "ZADD"]
    assert asyncio.run(commands()) == read + given_back + taken
