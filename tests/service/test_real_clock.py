"""Queues on a real server: the calendar is the clock of all their users, and a clock that is wrong is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.server import RealServer, connect
from queuesim.core.clock import now, set_clock
from queuesim.core.flow import Flow, FlowProducer
from queuesim.core.job import Job, JobState
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue
from queuesim.core.scheduler import Cron, Every
from queuesim.core.worker import Worker

PATIENCE = 30.0
PROMPT = 10.0
"""Seconds that a busy machine may take for a step. A clock of another kind is off by years."""


def on_server(server: EmbeddedServer, program: Callable[[RealServer], Awaitable[None]]) -> None:
    """Run a program that sets no clock."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            place = await connect(server.url)
            try:
                await program(place)
            finally:
                await place.close()

    asyncio.run(main())


@pytest.fixture
def client(default_server: EmbeddedServer) -> Any:
    with Redis.from_url(default_server.url, decode_responses=True) as client:
        yield client


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - a server does not tell of all that happens
        await asyncio.sleep(0.01)


async def completed(queue: Queue, count: int) -> bool:
    return (await queue.counts())[JobState.COMPLETED] >= count


async def compared(worker: Worker) -> bool:
    """Whether a worker has compared its clock with the server's."""
    return bool(worker._upkeep) and worker._upkeep[-1].done()


def test_producers_go_by_the_calendar(default_server: EmbeddedServer, client: Any) -> None:
    async def program(place: RealServer) -> None:
        queue = Queue(RedisBroker("clock-add", place))
        job_id = await queue.add("job", delay=3600.0)
        await queue.upsert_scheduler("daily", Cron("0 0 * * *"), "job")
        await queue.upsert_scheduler("often", Every(7.0), "job")
        tree = await FlowProducer(queue.broker).add(Flow("parent", "clock-add", children=[Flow("child", "clock-add")]))
        present = time.time()
        stamps = [float(client.hget(f"bull:clock-add:{each}", "timestamp")) / 1000 for each in (job_id, tree.id)]
        assert stamps == pytest.approx([present, present], abs=PROMPT)
        assert await queue.get_state(job_id) is JobState.DELAYED
        due = {scheduler.id: scheduler.due for scheduler in await queue.schedulers()}
        assert due["often"] == pytest.approx(present, abs=PROMPT + 7.0)
        midnight = due["daily"]
        assert midnight is not None
        assert present - PROMPT < midnight < present + 86_400 + PROMPT
        assert midnight % 86_400 == 0

    on_server(default_server, program)


def test_workers_and_their_handlers_go_by_the_calendar(default_server: EmbeddedServer, client: Any) -> None:
    processor = Processor("clock-work")

    @processor.job("job")
    async def handler(job: Job) -> float:
        await job.log("done")
        return now()

    async def program(place: RealServer) -> None:
        queue = Queue(RedisBroker("clock-work", place))
        worker = Worker(processor, queue.broker)
        running = asyncio.create_task(worker.run())
        ids = [await queue.add("job"), await queue.add("job", delay=0.05), await queue.add("job", delay=3600.0)]
        await until(lambda: completed(queue, 2))
        assert await queue.get_state(ids[2]) is JobState.DELAYED
        await worker.close()
        await running
        for job_id in ids[:2]:
            job = await queue.get_job(job_id)
            assert job is not None
            assert [job.return_value, job.processed_on, job.finished_on] == pytest.approx([time.time()] * 3, abs=PROMPT)

    on_server(default_server, program)


def test_a_clock_that_was_set_goes_before_the_calendar(default_server: EmbeddedServer, client: Any) -> None:
    """Also in a worker that is not given one."""
    processor = Processor("clock-set")

    @processor.job("job")
    async def handler(job: Job) -> float:
        return now()

    async def program(place: RealServer) -> None:
        set_clock(lambda: time.time() + 7200.0)
        queue = Queue(RedisBroker("clock-set", place))
        worker = Worker(processor, queue.broker)
        running = asyncio.create_task(worker.run())
        job_id = await queue.add("job")
        await until(lambda: completed(queue, 1))
        job = await queue.get_job(job_id)
        assert job is not None
        ahead = time.time() + 7200.0
        assert [job.timestamp, job.return_value, job.processed_on] == pytest.approx([ahead] * 3, abs=PROMPT)
        await worker.close()
        await running

    on_server(default_server, program)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]


@pytest.mark.parametrize(
    ("clock", "told"),
    [
        (lambda: time.time() + 30.0, "s ahead of that of unix:"),
        (lambda: time.time() - 30.0, "s behind that of unix:"),
        (time.monotonic, "It must count seconds since 1970, as the default does: leave out set_clock and clock="),
        (time.time, None),
        (lambda: time.time() + 0.5, None),
    ],
    ids=["ahead", "behind", "no calendar", "right", "within the bound"],
)
@pytest.mark.parametrize("who", ["connection", "worker"])
def test_a_clock_that_is_not_the_servers_is_said(
    default_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, clock: Any, told: str | None, who: str
) -> None:
    async def program(place: RealServer) -> None:
        if who == "connection":
            set_clock(clock)
            await (await connect(default_server.url)).close()
            return
        worker = Worker(Processor("clock-said"), RedisBroker("clock-said", place), clock=clock)
        running = asyncio.create_task(worker.run())
        await until(lambda: compared(worker))
        await worker.close()
        await running

    on_server(default_server, program)
    if told is None:
        assert warnings(caplog) == []
    else:
        (message,) = warnings(caplog)
        assert message.startswith("the clock of this program is ")
        assert told in message


def test_the_calendar_of_this_machine_is_compared_too(
    default_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server may be on another machine, whose clock is right."""

    async def program(place: RealServer) -> None:
        command = place.command

        async def late(*words: Any) -> Any:
            answer = await command(*words)
            return [str(int(answer[0]) + 60), answer[1]] if words == ("TIME",) else answer

        place.command = late  # type: ignore[method-assign]
        await place.compare_clock(time.time)

    on_server(default_server, program)
    (message,) = warnings(caplog)
    assert message.startswith(("the clock of this program is 59.", "the clock of this program is 60."))
    assert "s behind that of" in message
    assert message.endswith("Synchronise the clocks (NTP)")
