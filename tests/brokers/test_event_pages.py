"""A reader of the event stream misses nothing, or is told so: trimming, streams that begin anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from brokerdriver import Driver, new_job
from redisservers import Clock

from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.events import EventKind, EventPage


def read(queue: Driver, after: int, limit: int | None = None) -> EventPage:
    return queue.run(queue.broker.read_events(after, limit))


def test_pages_follow_each_other_without_a_gap(queue: Driver) -> None:
    queue.add_each(4)
    page = read(queue, 0, 3)
    seen = list(page.events)
    while page.events:
        assert page.complete
        assert page.last == page.events[-1].id
        page = read(queue, page.last, 3)
        seen += page.events
    assert page.complete
    assert seen == queue.run(queue.broker.events(0))
    queue.add()
    page = read(queue, page.last)
    assert [event.kind for event in page.events] == [EventKind.ADDED, EventKind.WAITING]
    assert page.complete


def test_after_obliterate_a_reader_goes_on(queue: Driver) -> None:
    """Again and again, as fast as the server can: the new stream may begin within the millisecond of the old one."""
    last = 0
    for _ in range(30):
        queue.add()
        page = read(queue, last)
        assert [event.kind for event in page.events if event.kind in ("added", "paused")] == [EventKind.ADDED]
        queue.run(queue.broker.pause(queue.now))
        last = read(queue, page.last).last
        queue.run(queue.broker.obliterate(False, queue.now))


Program = Callable[[RedisBroker, Callable[..., Awaitable[Any]]], Awaitable[None]]


def on_stream(program: Program) -> None:
    """Run with a broker and a function that adds an event: its id, its kind, the job's id."""

    async def whole() -> None:
        place = FakeServer(Clock())
        broker = RedisBroker("q", place)

        async def event(stream_id: str, kind: str, job_id: str = "1") -> None:
            await place.command("XADD", "bull:q:events", stream_id, "event", kind, "jobId", job_id)

        await program(broker, event)

    asyncio.run(whole())


async def forget(broker: RedisBroker) -> None:
    await broker._server.command("DEL", "bull:q:events")


@pytest.mark.parametrize(
    "fresh", [("5-0", "5-1", "5-2"), ("5-2", "5-3", "5-4"), ("3-0", "3-1", "9-0"), ("6-0", "6-1", "6-2")]
)
def test_a_stream_that_began_anew_is_read_from_its_beginning(fresh: tuple[str, ...]) -> None:
    """Within the same millisecond, with the very id that was seen last, behind it, and by a clock that is behind."""

    async def program(broker: RedisBroker, event: Callable[..., Awaitable[Any]]) -> None:
        for stream_id in ("4-0", "5-1", "5-2"):
            await event(stream_id, "waiting", "old")
        last = (await broker.read_events(0)).last
        await forget(broker)
        assert await broker.read_events(last) == EventPage([], False, last)
        for stream_id in fresh:
            await event(stream_id, "waiting", "new")
        page = await broker.read_events(last, 2)
        assert not page.complete
        rest = await broker.read_events(page.last)
        assert rest.complete
        assert [event.job_id for event in page.events + rest.events] == ["new"] * 3

    on_stream(program)


def test_a_reader_is_told_of_trimming() -> None:
    async def program(broker: RedisBroker, event: Callable[..., Awaitable[Any]]) -> None:
        for second in range(1, 7):
            await event(f"{second}000-0", "waiting", str(second))
        first = (await broker.read_events(0, 1)).last
        await broker._server.command("XTRIM", "bull:q:events", "MAXLEN", 3)
        page = await broker.read_events(first)
        assert not page.complete
        assert [event.job_id for event in page.events] == ["4", "5", "6"]
        assert (await broker.read_events(page.last)).complete

    on_stream(program)


def test_kinds_and_numbers_that_nobody_knows_stop_no_reader() -> None:
    """Another program may write anything."""

    async def program(broker: RedisBroker, event: Callable[..., Awaitable[Any]]) -> None:
        await event("1-0", "of-the-future")
        await event("1-1", "of-the-future")
        await broker._server.command("XADD", "bull:q:events", "1-2", "event", "cleaned", "count", "many")
        await broker._server.command("XADD", "bull:q:events", "1-3", "event", "delayed", "jobId", "1", "delay", "soon")
        page = await broker.read_events(0, 2)
        assert page.events == []
        page = await broker.read_events(page.last)
        assert page.complete
        assert [event.fields for event in page.events] == [{"count": "many"}, {"delay": "soon"}]

    on_stream(program)


def test_a_reader_of_a_queue_in_memory_is_told_of_trimming() -> None:
    async def program() -> None:
        broker = MemoryBroker("q")
        await broker.add([new_job()], 0.0)
        last = (await broker.read_events(0)).last
        for _ in range(30):
            await broker.add([new_job() for _ in range(1000)], 0.0)
        page = await broker.read_events(last)
        assert not page.complete
        assert (await broker.read_events(page.last)).complete

    asyncio.run(program())
