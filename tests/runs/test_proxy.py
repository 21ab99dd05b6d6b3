"""A proxy before a real server: it passes on, delays, cuts before and after, turns away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import Address, RealServer, connect
from queuesim.core.errors import BrokerUnavailableError
from queuesim.runs.live.proxy import Proxy, Treatment


class Bench:
    """A server, and a proxy before it whose treatment a test changes."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.treatment = Treatment()
        self.away = False
        self.seen: list[bytes] = []
        self.server = server
        self.proxy = Proxy(Address(server.url), treat=self._treat, away=lambda: self.away)

    def _treat(self, command: list[bytes]) -> Treatment:
        self.seen.append(command[0])
        return self.treatment


def run(scene: Callable[[Bench, RealServer], Awaitable[None]], server: EmbeddedServer) -> None:
    async def play() -> None:
        bench = Bench(server)
        await bench.proxy.start()
        place = await connect(bench.proxy.url)
        try:
            await place.command("DEL", "n")
            bench.seen.clear()
            await scene(bench, place)
        finally:
            await place.close()
            await bench.proxy.close()

    asyncio.run(play())


def test_what_comes_is_passed_on_and_seen(default_server: EmbeddedServer) -> None:
    async def scene(bench: Bench, place: RealServer) -> None:
        long = "x" * 300_000 + "\r\n*1\r\n"
        await place.command("SET", "n", long)
        assert await place.command("GET", "n") == long
        assert bench.seen == [b"SET", b"GET"]

    run(scene, default_server)


@pytest.mark.parametrize(("lose", "left"), [("before", None), ("after", "1")])
def test_a_connection_breaks_before_a_command_or_after_it_took_effect(
    default_server: EmbeddedServer, lose: Any, left: str | None
) -> None:
    async def scene(bench: Bench, place: RealServer) -> None:
        bench.treatment = Treatment(lose=lose)
        with pytest.raises(BrokerUnavailableError):
            await place.command("INCR", "n")
        bench.treatment = Treatment()
        assert await place.command("GET", "n") == left

    run(scene, default_server)


def test_a_refused_command_took_no_effect_and_its_answer_comes(default_server: EmbeddedServer) -> None:
    from redis.exceptions import ResponseError

    async def scene(bench: Bench, place: RealServer) -> None:
        bench.treatment = Treatment(lose="after")
        with pytest.raises(ResponseError, match="unknown command"):
            await place.command("NOSUCH")

    run(scene, default_server)


def test_a_delayed_command_takes_longer_by_just_that(default_server: EmbeddedServer) -> None:
    async def scene(bench: Bench, place: RealServer) -> None:
        bench.treatment = Treatment(delay=0.2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await place.command("INCR", "n") == 1
        assert loop.time() - began >= 0.2

    run(scene, default_server)


def test_a_server_that_is_away_cuts_and_turns_away_until_it_is_back(default_server: EmbeddedServer) -> None:
    async def scene(bench: Bench, place: RealServer) -> None:
        bench.away = True
        waiting = asyncio.create_task(place.block("{p}", "q", None, 0.0))
        while not waiting.done():
            bench.proxy.cut()
            await asyncio.sleep(0.01)
        assert isinstance(waiting.exception(), BrokerUnavailableError)
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError):
                await place.command("GET", "n")
        bench.away = False
        assert await place.command("INCR", "n") == 1

    run(scene, default_server)


def test_user_password_and_database_stay_in_the_url() -> None:
    async def url_of(server: str) -> str:
        proxy = Proxy(Address(server))
        await proxy.start()
        try:
            return proxy.url.replace(str(proxy.port), "PORT")
        finally:
            await proxy.close()

    assert asyncio.run(url_of("redis://me:secret@example.org:7000/3")) == "redis://me:secret@127.0.0.1:PORT/3"
    assert asyncio.run(url_of("unix://:secret@/tmp/redis.sock?db=2")) == "redis://:secret@127.0.0.1:PORT?db=2"


def test_nobody_can_look_into_tls() -> None:
    with pytest.raises(ValueError, match="TLS"):
        Proxy(Address("rediss://example.org"))
