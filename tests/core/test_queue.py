"""The queue as producers and operators see it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
from workbench import Bench

from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.fake import FakeServer
from queuesim.core.clock import set_clock
from queuesim.core.errors import QueueActiveError, QueueNotPausedError, ValidationError
from queuesim.core.events import EventKind
from queuesim.core.job import Deduplication, JobOptions, JobState, NewJob, Origin, OriginKind, RateLimit
from queuesim.core.queue import Queue
from queuesim.core.scheduler import Every, ScheduleError
from queuesim.simulation.runner import run


def queue(**options: Any) -> Queue:
    return Queue(MemoryBroker("mail"), defaults=JobOptions(**options))


def test_defaults_options_and_single_changes() -> None:
    async def program() -> None:
        mail = queue(attempts=3, priority=2)
        await mail.add("a")
        await mail.add("b", priority=5)
        await mail.add("c", options=JobOptions(attempts=1), lifo=True)
        jobs = [await mail.get_job(id) for id in "123"]
        options = [(job.options.attempts, job.options.priority, job.options.lifo) for job in jobs if job is not None]
        assert options == [(3, 2, False), (3, 5, False), (1, 0, True)]

    run(program())


def test_times_are_those_of_the_running_loop_or_of_a_clock_that_was_set() -> None:
    async def program() -> None:
        mail = queue()
        await asyncio.sleep(2.5)
        first = await mail.add("a")
        set_clock(lambda: 1_000.0)
        second = await mail.add("a")
        set_clock(None)
        third = await mail.add("a")
        jobs = [await mail.get_job(id) for id in (first, second, third)]
        assert [job.timestamp for job in jobs if job is not None] == [2.5, 1_000.0, 2.5]

    run(program())


@pytest.mark.parametrize("data", [math.nan, object(), {1}, b"x"])
def test_data_that_are_no_json_are_refused(data: Any) -> None:
    with pytest.raises(ValidationError, match="the data of job 'a' is not JSON"):
        run(queue().add("a", data))


def test_data_that_are_nested_too_deep_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValidationError, match="not JSON"):
        run(queue().add("a", deep))


@pytest.mark.parametrize(
    ("name", "reason"), [("caf\ud83d", "half of a surrogate pair"), (None, "must be text, not None")]
)
def test_names_that_no_server_stores_are_refused_in_memory_too(name: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"a job's name .*{reason}"):
        run(queue().add(name))
    with pytest.raises(ValueError, match=f"a job's name .*{reason}"):
        run(queue().upsert_scheduler("daily", Every(1.0), name))
    with pytest.raises(ScheduleError, match=f"a scheduler's id .*{reason}"):
        run(queue().upsert_scheduler(name, Every(1.0), "a"))
    assert run(queue().add("caf\u00e9 \U0001f600")) == "1"


def test_a_size_limit_counts_bytes() -> None:
    mail = queue(size_limit=8)
    assert run(mail.add("a", "aaaaaa")) == "1"
    with pytest.raises(ValidationError, match="has 10 bytes, its size limit is 8"):
        run(mail.add("a", "üüüü"))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="priorty"):
        run(queue().add("a", priorty=3))


def test_bulk_adds_all_or_none() -> None:
    mail = queue(attempts=2)
    assert run(mail.add_bulk([])) == []
    assert run(mail.add_bulk([("a", {"n": 1}), NewJob("b"), mail.new_job("c", delay=5.0)])) == ["1", "2", "3"]
    with pytest.raises(ValidationError):
        run(mail.add_bulk([("d", None), ("e", object())]))
    counts = run(mail.counts())
    assert (counts[JobState.WAITING], counts[JobState.DELAYED]) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda mail: mail.change_priority("1", -1),
        lambda mail: mail.change_priority("1", 2**21),
        lambda mail: mail.change_delay("1", -1.0),
        lambda mail: mail.change_delay("1", math.nan),
        lambda mail: mail.set_concurrency(0),
    ],
)
def test_numbers_out_of_range_change_nothing(change: Any) -> None:
    async def program() -> None:
        mail = queue(delay=5.0)
        await mail.add("a")
        with pytest.raises(ValueError, match="must be"):
            await change(mail)
        assert len(await mail.events()) == 2

    run(program())


def test_every_operation_reaches_the_broker() -> None:
    async def program() -> None:
        mail = queue()
        ids = [await mail.add("a", delay=60.0) for _ in range(4)]
        await mail.promote(ids[0])
        await mail.change_delay(ids[1], 30.0)
        await mail.change_priority(ids[0], 3)
        assert await mail.get_state(ids[0]) is JobState.PRIORITIZED
        assert await mail.promote_all() == 3
        assert [job.id for job in await mail.get_jobs(JobState.WAITING, ascending=True)] == [ids[1], ids[2], ids[3]]
        await mail.remove(ids[3])
        assert await mail.get_job(ids[3]) is None
        assert await mail.clean(0.0, JobState.PRIORITIZED) == [ids[0]]
        await mail.pause()
        assert await mail.is_paused()
        await mail.drain(delayed=True)
        assert sum((await mail.counts()).values()) == 0
        await mail.resume()
        assert not await mail.is_paused()
        assert [event.kind for event in await mail.events()][-1] is EventKind.RESUMED
        assert len(await mail.events(after=0, limit=3)) == 3
        assert (mail.name, repr(mail)) == ("mail", "<Queue 'mail' on MemoryBroker>")

    run(program())


def test_finished_jobs_run_again() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=1.0)
        async with bench.working():
            ids = await bench.queue.add_bulk([("job", None)] * 3)
            await asyncio.sleep(5.0)
            await bench.queue.retry(ids[0], JobState.COMPLETED, reset_attempts=True)
            await asyncio.sleep(5.0)
            assert await bench.queue.retry_all(JobState.COMPLETED, before=3.0) == 2
            await asyncio.sleep(5.0)
        assert bench.starts == {"1": [0.0, 5.0], "2": [1.0, 10.0], "3": [2.0, 11.0]}

    run(program())


def test_rate_limits_by_hand() -> None:
    async def program() -> None:
        mail = queue()
        await mail.set_rate_limit(RateLimit(5, 1.0))
        await mail.rate_limit(2.0)
        assert await mail.rate_limit_ttl() == 2.0
        await asyncio.sleep(0.5)
        assert await mail.rate_limit_ttl(5) == 1.5
        await mail.clear_rate_limit()
        assert await mail.rate_limit_ttl() == 0.0

    run(program())


def test_obliterate_and_released_ids() -> None:
    async def program() -> None:
        mail = queue()
        await mail.add("a", deduplication=Deduplication("d"))
        assert await mail.release_deduplication("d") is True
        with pytest.raises(QueueNotPausedError, match="pause queue mail"):
            await mail.obliterate()
        await mail.pause()
        await mail.obliterate(force=True)
        assert sum((await mail.counts()).values()) == 0

    run(program())


def test_obliterate_spares_active_jobs_unless_forced() -> None:
    async def program() -> None:
        bench = Bench()
        bench.serve(seconds=10.0)
        await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(1.0)
            await bench.queue.pause()
            with pytest.raises(QueueActiveError, match="1 active jobs"):
                await bench.queue.obliterate()
            await bench.queue.obliterate(force=True)
        assert bench.rows[0].lost

    run(program())


def test_the_log_of_a_job() -> None:
    async def program() -> None:
        mail = queue()
        job = await mail.get_job(await mail.add("a"))
        assert job is not None
        await job.log("one")
        await job.log("two")
        assert await mail.logs(job.id) == ["one", "two"]

    run(program())


def test_drafts_are_the_jobs_that_new_job_makes() -> None:
    tasks = queue(attempts=3, delay=1.0)
    origin = Origin(OriginKind.SCAN, 1)
    draft = tasks.drafts("notice", lambda task: {"task": task}, origin=origin).draft(7, "scan-1-7", "task-7")
    options = JobOptions(attempts=3, delay=1.0, job_id="scan-1-7", deduplication=Deduplication("task-7"))
    made = tasks.new_job("notice", {"task": 7}, options, origin=origin)
    assert (draft.job_id, draft.deduplication) == (made.job_id, made.deduplication)
    for attribute in ("name", "data", "options", "origin", "scheduled"):
        assert getattr(draft, attribute) == getattr(made, attribute)
    later = replace(draft, scheduled=5.0)
    assert (later.job_id, later.deduplication, later.scheduled) == ("scan-1-7", Deduplication("task-7"), 5.0)
    with pytest.raises(AttributeError, match="weight"):
        draft.weight


def test_of_a_draft_that_is_dropped_nobody_makes_the_data() -> None:
    made: list[int] = []

    def data(task: int) -> dict[str, int]:
        made.append(task)
        return {"task": task}

    async def program() -> None:
        tasks = queue()
        for scan in (1, 2, 3):
            drafts = tasks.drafts("notice", data)
            ids = await tasks.add_bulk([drafts.draft(task, f"scan-{scan}-{task}", f"task-{task}") for task in (4, 5)])
            assert ids == ["scan-1-4", "scan-1-5"]
        assert [job.data for job in await tasks.broker.jobs(JobState.WAITING, 0, -1, True)] == [
            {"task": 4},
            {"task": 5},
        ]
        dropped = [event for event in await tasks.events() if event.kind is EventKind.DEDUPLICATED]
        assert [event.fields["deduplicatedJobId"] for event in dropped] == [
            "scan-2-4",
            "scan-2-5",
            "scan-3-4",
            "scan-3-5",
        ]

    run(program())
    assert made == [4, 5]


def test_data_of_drafts_that_are_no_json_are_refused_when_they_are_asked_for() -> None:
    draft = queue().drafts("notice", lambda about: about).draft(object(), "a", "b")
    with pytest.raises(ValidationError, match="not JSON"):
        draft.data


@pytest.mark.parametrize(
    ("name", "why"), [("", "empty"), ("a:b", "':'"), ("half \ud83d", "surrogate pair"), (7, "text")]
)
@pytest.mark.parametrize("broker", ["memory", "redis"])
def test_names_of_queues_are_refused_alike(broker: str, name: Any, why: str) -> None:
    with pytest.raises(ValueError, match=f"a queue's name .*{why}"):
        MemoryBroker(name) if broker == "memory" else RedisBroker(name, FakeServer(lambda: 0.0))
