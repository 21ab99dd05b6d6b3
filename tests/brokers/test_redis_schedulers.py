"""Job schedulers that another program stored, on fakeredis: those of BullMQ 5, and those that can't be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from queuesim import Keep, Processor, Queue, Worker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Job, JobState
from queuesim.core.scheduler import Every, ScheduleError
from queuesim.simulation.runner import run

KEY = "31dc0352ae7d8493c07430ced019c90b"


def play(scene: Coroutine[Any, Any, Any]) -> Any:
    return run(scene)


class Bench:
    """A queue on fakeredis, and a worker that notes what it ran."""

    def __init__(self) -> None:
        self.place = FakeServer()
        self.broker = RedisBroker("q", self.place)
        self.queue = Queue(self.broker)
        self.ran: list[Job] = []
        self.processor = Processor("q")

        @self.processor.job("mail")
        async def mail(job: Job) -> None:
            self.ran.append(job)

    def write(self, key: str, **fields: Any) -> None:
        words = [word for name, value in fields.items() for word in (name, value)]
        self.place.command_now("HSET", f"bull:q:{key}", *words)

    async def work(self, seconds: float) -> None:
        worker = Worker(self.processor, self.broker)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(seconds)
        await worker.close()
        await task


def repeatable(bench: Bench, due: int, rule: dict[str, Any], **fields: Any) -> None:
    """What `queue.add("mail", {"a": 1}, {repeat, attempts: 3, ...})` of BullMQ 5.81 leaves."""
    name = f"repeat:{KEY}:{due}"
    opts = {
        "repeat": {**rule, "count": 1}, "jobId": name, "prevMillis": due, "delay": due, "timestamp": 0, "attempts": 3,
        "removeOnFail": True,
    }  # fmt: skip
    bench.write(f"repeat:{KEY}", name="mail", **fields)
    bench.write(name, name="mail", data='{"a":1}', opts=json.dumps(opts), timestamp=0, delay=due, priority=0, rjk=KEY)
    bench.place.command_now("ZADD", "bull:q:repeat", due, KEY)
    bench.place.command_now("ZADD", "bull:q:delayed", due * 4096, name)


def test_a_repeatable_job_of_bullmq_5_goes_on_with_its_data_and_options() -> None:
    async def scene() -> None:
        bench = Bench()
        repeatable(bench, 500, {"every": 500}, every=500)
        (found,) = await bench.queue.schedulers()
        assert (found.id, found.data, found.options.attempts, found.due) == (KEY, '{"a":1}', 3, 0.5)
        await bench.work(2.75)
        assert [job.id for job in bench.ran] == [f"repeat:{KEY}:{due}" for due in (500, 1000, 1500, 2000, 2500)]
        assert [job.data for job in bench.ran] == [{"a": 1}] * 5
        assert all(job.options.attempts == 3 and job.options.keep_failed == Keep(0) for job in bench.ran)
        last = await bench.place.command("HGET", f"bull:q:repeat:{KEY}:3000", "opts")
        assert json.loads(last)["repeat"] == {"every": 500, "count": 6}
        assert not await bench.place.command("HEXISTS", f"bull:q:repeat:{KEY}", "ic")

    play(scene())


def test_so_does_one_that_a_worker_of_bullmq_5_counted() -> None:
    async def scene() -> None:
        bench = Bench()
        repeatable(bench, 500, {"pattern": "* * * * * *"}, pattern="* * * * * *", ic=1, data='{"a":1}')
        await bench.work(2.75)
        assert [(job.data, job.options.attempts) for job in bench.ran] == [({"a": 1}, 3)] * 3

    play(scene())


def test_the_limit_of_a_repeatable_job_ends_it() -> None:
    async def scene() -> None:
        bench = Bench()
        repeatable(bench, 500, {"every": 500, "limit": 2}, every=500)
        await bench.work(5.0)
        assert len(bench.ran) == 2
        assert await bench.queue.schedulers() == []

    play(scene())


def test_a_repeatable_job_without_a_hash_is_refused_by_name_and_kept() -> None:
    """BullMQ 4 has all of it in the key: mail::::500. Its job is put off and says so; the data are in it."""

    async def scene() -> None:
        bench = Bench()
        repeatable(bench, 500, {"every": 500}, every=500)
        await bench.place.command("DEL", f"bull:q:repeat:{KEY}")
        await bench.work(2.0)
        assert bench.ran == []
        (job,) = await bench.queue.get_jobs(JobState.DELAYED)
        assert job.data == {"a": 1}
        (row,) = await bench.queue.logs(job.id)
        assert f"scheduler {KEY} can't be read: it is a repeatable job of BullMQ 4" in row
        assert "upsert it" in row

    play(scene())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"every": "often", "offset": 0, "ic": 1}, "often"),
        ({"offset": 0, "ic": 1}, "it has no 'every'"),
        ({"pattern": "when I like", "offset": 0, "ic": 1}, "is not a cron line"),
        ({"every": 500, "offset": 0, "ic": 1, "opts": "[1]"}, "opts is not an object"),
        ({"every": 500, "offset": 0, "ic": 1, "opts": '{"attempts":{"a":1}}'}, "its opts: "),
        ({"every": 500, "offset": 0, "ic": 1, "limit": "few"}, "few"),
        ({"every": 0, "offset": 0, "ic": 1}, "can't be read"),
    ],
)
def test_a_scheduler_that_can_not_be_read_puts_off_its_job_and_no_other(
    fields: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        bench = Bench()
        repeatable(bench, 500, {"every": 500}, **fields)
        await bench.queue.upsert_scheduler("good", Every(0.5), "mail")
        assert [scheduler.id for scheduler in await bench.queue.schedulers()] == ["good"]
        assert KEY in caplog.text
        with pytest.raises(ScheduleError, match=message):
            await bench.broker.scheduler(KEY)
        await bench.work(2.25)
        assert {job.id for job in bench.ran} == {f"repeat:good:{due}" for due in (0, 500, 1000, 1500, 2000)}
        (row,) = await bench.queue.logs(f"repeat:{KEY}:500")
        assert message in row
        # it is its scheduler's present job still, and that goes on as soon as it is mended
        await bench.place.command("DEL", f"bull:q:repeat:{KEY}")
        bench.write(f"repeat:{KEY}", name="mail", every=500)
        await bench.queue.remove_scheduler("good")
        await bench.work(60.0)
        late, *others = [job for job in bench.ran if job.scheduler_id == KEY]
        assert late.id == f"repeat:{KEY}:500"
        assert (late.attempts_made, len(others)) == (0, 3)

    play(scene())


def test_an_outage_between_a_start_and_the_next_tick_ends_nothing() -> None:
    async def scene() -> None:
        bench = Bench()
        failures = iter([True, True, True])

        class Failing(RedisBroker):
            async def advance_scheduler(self, *arguments: Any) -> Any:
                if next(failures, False):
                    raise BrokerUnavailableError("down")
                return await super().advance_scheduler(*arguments)

        bench.broker = Failing("q", bench.place)
        await bench.queue.upsert_scheduler("tick", Every(60.0), "mail")
        await bench.work(130.0)
        assert [job.id for job in bench.ran] == [f"repeat:tick:{due}" for due in (0, 60_000, 120_000)]
        # none of them had to stall first
        assert all(job.attempts_started == 1 for job in bench.ran)

    play(scene())
