"""Readers of the event stream over restarts, trimming and failovers of real servers.

They go on, nothing comes twice, and they are told of what they missed. One reads through the broker, the other records
a live run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import RealServer, connect
from queuesim.core.events import EventKind
from queuesim.core.job import JobOptions, JobState, NewJob
from queuesim.core.retry import retry_forever
from queuesim.results.recorder import Recorder
from queuesim.runs.live.messages import StreamFollower
from servers import REAL, skipping_without

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
AT_ONCE = {"repl-diskless-sync-delay": "0"}
"""A primary waits for no second replica."""
BASE = "bull:mail:"
PATIENCE = 30.0


class Reader(Protocol):
    """What these tests ask of a reader."""

    async def read(self) -> tuple[list[str], bool]:
        """The ids of the jobs that were added since the last look, and whether any event may be missing."""
        ...


class PageReader:
    """Reads small pages of the broker's, as a service does."""

    LIMIT = 3

    def __init__(self, place: RealServer) -> None:
        self._broker = RedisBroker("mail", place)
        self._last = 0

    async def read(self) -> tuple[list[str], bool]:
        added: list[str] = []
        complete = True
        while True:
            page = await self._broker.read_events(self._last, self.LIMIT)
            self._last = page.last
            complete = complete and page.complete
            added += [event.job_id or "" for event in page.events if event.kind is EventKind.ADDED]
            if len(page.events) < self.LIMIT:
                return added, complete


class RunReader:
    """Reads as a live run does that records a queue."""

    def __init__(self, place: RealServer) -> None:
        recorder = Recorder()
        self._added: list[str] = []
        recorder.added = lambda number, job_id, job, timestamp: self._added.append(job_id)  # type: ignore[method-assign]
        recorder.events = lambda entries: None  # type: ignore[method-assign]
        self._watch = StreamFollower(place, BASE, recorder, lambda stamp: stamp / 1000)
        self._gaps = 0

    async def read(self) -> tuple[list[str], bool]:
        await self._watch.read()
        gaps = len(self._watch.reader.gaps)
        added, complete = self._added, gaps == self._gaps
        self._added, self._gaps = [], gaps
        return added, complete


READERS: dict[str, Callable[[RealServer], Reader]] = {
    "broker": PageReader,
    "live run": RunReader,
}


class Scene:
    """A reader and a producer at a server, of which there may be two: all go to the one to which `lead` points."""

    def __init__(self, kind: str, link: Path, make_reader: Callable[[RealServer], Reader]) -> None:
        self._kind = kind
        self._link = link
        self._make_reader = make_reader
        self.stack = AsyncExitStack()

    async def open(self, **options: str) -> EmbeddedServer:
        """Start the first server, and everything that uses it."""
        server = self.start(**options)
        self.lead(server)
        url = f"unix://{self._link}"
        self.place = await connect(url)
        self.stack.push_async_callback(self.place.close)
        self.broker = RedisBroker("mail", self.place)
        reading = await connect(url)
        self.stack.push_async_callback(reading.close)
        self._reader = self._make_reader(reading)
        return server

    def start(self, **options: str) -> EmbeddedServer:
        """One more server, with these directives."""
        with skipping_without(self._kind):
            return self.stack.enter_context(EmbeddedServer(REAL[self._kind], port=0, options=options | AT_ONCE))

    def lead(self, server: EmbeddedServer) -> None:
        """Whoever connects from now on gets to this server."""
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(server.socket)

    async def add(self, *names: str) -> None:
        """Add jobs with these ids."""
        jobs = [NewJob("job", "{}", JobOptions(job_id=name)) for name in names]
        await self.insist(lambda: self.broker.add(jobs, time.time()))

    async def read(self) -> tuple[list[str], bool]:
        """What the reader sees."""
        return await self.insist(self._reader.read)

    async def close(self) -> None:
        """End everything."""
        await self.stack.aclose()

    @staticmethod
    async def insist(call: Callable[[], Awaitable[Any]]) -> Any:
        """Call until the server answers."""
        # a server that has come back has forgotten the connections
        return await retry_forever(call, random.Random(0))


Play = Callable[[Scene], Awaitable[None]]
Run = Callable[[Play], None]


@pytest.fixture(params=["redis-7.0", "valkey-9.1"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=READERS)
def run(request: pytest.FixtureRequest, kind: str, scratch: Path) -> Run:
    """Plays a scene with one kind of reader on one kind of server."""

    def play(act: Play) -> None:
        async def whole() -> None:
            scene = Scene(kind, scratch / "leader.sock", READERS[request.param])
            try:
                async with asyncio.timeout(PATIENCE):
                    await act(scene)
            finally:
                await scene.close()

        asyncio.run(whole())

    return play


def test_a_restart_of_a_server_that_keeps_everything_is_not_noticed(run: Run) -> None:
    async def act(scene: Scene) -> None:
        server = await scene.open(**DURABLE)
        await scene.add("a", "b")
        assert await scene.read() == (["a", "b"], True)
        await scene.add("c")
        server.crash()
        server.start()
        await scene.add("d")
        assert await scene.read() == (["c", "d"], True)

    run(act)


def test_after_a_restart_with_an_empty_memory_a_reader_begins_anew_and_is_told(run: Run) -> None:
    async def act(scene: Scene) -> None:
        server = await scene.open()
        await scene.add("a", "b")
        assert await scene.read() == (["a", "b"], True)
        await scene.add("lost")
        server.crash()
        server.start()
        await scene.add("c", "d")
        assert await scene.read() == (["c", "d"], False)
        await scene.add("e")
        assert await scene.read() == (["e"], True)

    run(act)


@pytest.mark.parametrize("late", [False, True], ids=["read at once", "read later"])
def test_after_a_restart_from_an_older_image_nothing_comes_twice(run: Run, late: bool) -> None:
    """The end of the stream is lost; what is before it has been read."""

    async def act(scene: Scene) -> None:
        server = await scene.open()
        await scene.add("a", "b")
        assert await scene.read() == (["a", "b"], True)
        await scene.place.command("SAVE")
        await scene.add("lost", "lost, too")
        assert await scene.read() == (["lost", "lost, too"], True)
        server.crash()
        server.start()
        if not late:
            assert await scene.read() == ([], False)
        await scene.add("c")
        assert await scene.read() == (["c"], not late)
        await scene.add("d")
        assert await scene.read() == (["d"], True)

    run(act)


def test_a_reader_that_was_away_is_told_of_trimming(run: Run) -> None:
    async def act(scene: Scene) -> None:
        await scene.open()
        await scene.add("first")
        assert await scene.read() == (["first"], True)
        await scene.place.command("HSET", f"{BASE}meta", "opts.maxLenEvents", 100)
        names = [f"j{number}" for number in range(1000)]
        await scene.add(*names)
        # its length is approximate; removing a job trims it
        await scene.insist(lambda: scene.broker.remove("j0", time.time()))
        added, complete = await scene.read()
        assert not complete
        assert 0 < len(added) < len(names)
        assert added == names[-len(added) :]
        await scene.add("last")
        assert await scene.read() == (["last"], True)

    run(act)


async def follow(scene: Scene, at_replica: RealServer) -> None:
    """Wait until the replica has all that its primary has."""
    _, wanted, _ = await scene.place.command("ROLE")
    state, offset = "", -1
    while state != "connected" or offset < wanted:
        _, _, _, state, offset = await at_replica.command("ROLE")
        await asyncio.sleep(0.01)


async def replica_of(scene: Scene, primary: EmbeddedServer) -> tuple[EmbeddedServer, RealServer]:
    """A replica that has everything, and a connection to it."""
    replica = scene.start()
    place = await connect(replica.url)
    scene.stack.push_async_callback(place.close)
    await place.command("REPLICAOF", "127.0.0.1", primary.port)
    await follow(scene, place)
    return replica, place


def test_a_failover_to_a_replica_that_has_everything_is_not_noticed(run: Run) -> None:
    async def act(scene: Scene) -> None:
        primary = await scene.open()
        await scene.add("a", "b")
        assert await scene.read() == (["a", "b"], True)
        replica, at_replica = await replica_of(scene, primary)
        await scene.add("c")
        await follow(scene, at_replica)
        primary.crash()
        await at_replica.command("REPLICAOF", "NO", "ONE")
        scene.lead(replica)
        await scene.add("d")
        assert await scene.read() == (["c", "d"], True)

    run(act)


def test_after_a_failover_to_a_replica_that_lags_nothing_comes_twice(run: Run) -> None:
    async def act(scene: Scene) -> None:
        primary = await scene.open()
        await scene.add("a", "b")
        replica, at_replica = await replica_of(scene, primary)
        assert await scene.read() == (["a", "b"], True)
        # cut off from its primary, it stays behind
        await at_replica.command("REPLICAOF", "NO", "ONE")
        await scene.add("lost")
        assert await scene.read() == (["lost"], True)
        primary.crash()
        scene.lead(replica)
        await scene.add("c")
        assert await scene.read() == (["c"], False)
        assert (await scene.insist(scene.broker.counts))[JobState.WAITING] == 3
        await scene.add("d")
        assert await scene.read() == (["d"], True)

    run(act)


def test_after_a_failover_to_a_machine_whose_clock_is_behind_new_events_are_read(run: Run) -> None:
    """Their ids are smaller than those that were read and are lost."""

    async def act(scene: Scene) -> None:
        primary = await scene.open()
        await scene.add("a")
        replica, at_replica = await replica_of(scene, primary)
        await at_replica.command("REPLICAOF", "NO", "ONE")
        ahead = f"{round((time.time() + 3600) * 1000)}-0"
        await scene.place.command("XADD", f"{BASE}events", ahead, "event", "added", "jobId", "lost", "name", "job")
        assert await scene.read() == (["a", "lost"], True)
        primary.crash()
        scene.lead(replica)
        await scene.add("b", "c")
        assert await scene.read() == (["b", "c"], False)

    run(act)
