"""Workers of both kinds on one queue share its limiter, its concurrency, its pause and its stalled check."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from nodedriver import Js, Node, NodeObject
from pythonside import OurQueue, processor_of, until, working
from redis import Redis

from queuesim import Job, JobState, RateLimit
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.core.worker import WorkerOptions

pytestmark = pytest.mark.every_version

StartWorker = Callable[..., NodeObject]
SLOW = "async job => { await new Promise(done => setTimeout(done, 30)); return 1 }"


async def slow(job: Job) -> int:
    await asyncio.sleep(0.03)
    return 1


def completed(queue: OurQueue, count: int) -> list[Job]:
    """All jobs, when so many have completed."""
    until(lambda: queue.counts()[JobState.COMPLETED] == count)
    jobs: list[Job] = queue.get_jobs(JobState.COMPLETED)
    return jobs


def test_one_limiter(server: EmbeddedServer, our_queue: OurQueue, node_worker: StartWorker) -> None:
    processor = processor_of(slow, "mail", concurrency=2, limiter=RateLimit(5, 1.0))
    with working(processor, server):
        node_worker(SLOW, concurrency=2, limiter={"max": 5, "duration": 1000})
        our_queue.add_bulk([("job", {})] * 15)
        jobs = completed(our_queue, 15)
    starts = sorted(job.processed_on for job in jobs)
    assert {job.processed_by for job in jobs} == {"node", "python"}
    # the sixth start after any one opens another window
    assert all(later - earlier > 0.9 for earlier, later in zip(starts[::5], starts[5::5], strict=False))


def test_one_concurrency(server: EmbeddedServer, our_queue: OurQueue, node_worker: StartWorker) -> None:
    our_queue.set_concurrency(3)
    with working(processor_of(slow, "mail", concurrency=2), server):
        node_worker(SLOW, concurrency=2)
        our_queue.add_bulk([("job", {})] * 40)
        jobs = completed(our_queue, 40)
    assert {job.processed_by for job in jobs} == {"node", "python"}
    active, most = 0, 0
    for event in our_queue.events():
        active += {"active": 1, "completed": -1}.get(event.kind, 0)
        most = max(most, active)
    assert most == 3


def test_one_pause(
    server: EmbeddedServer, our_queue: OurQueue, node_queue: NodeObject, node_worker: StartWorker
) -> None:
    with working(processor_of(slow, "mail"), server):
        node_worker(SLOW)
        node_queue.pause()
        assert our_queue.is_paused()
        our_queue.add("job")
        node_queue.add("job", {})
        our_queue.resume()
        assert node_queue.isPaused() is False
        completed(our_queue, 2)
    paused = [event.kind for event in our_queue.events() if event.kind in ("paused", "resumed", "active")]
    assert paused == ["paused", "resumed", "active", "active"]


def test_a_job_of_a_node_process_that_was_killed_is_ours(
    server: EmbeddedServer, our_queue: OurQueue, package: str
) -> None:
    with Node(server, package) as doomed:
        settings = {"connection": doomed.connection, "name": "node", "lockDuration": 500, "stalledInterval": 200}
        doomed.new("Worker", "mail", Js("async job => new Promise(() => {})"), settings)
        job_id = our_queue.add("job")
        until(lambda: our_queue.get_state(job_id) is JobState.ACTIVE)
        os.kill(doomed.pid, signal.SIGKILL)
        options = WorkerOptions(lock_duration=0.5, stalled_interval=0.2)
        with working(processor_of(slow, "mail"), server, options=options):
            (job,) = completed(our_queue, 1)
    assert (job.processed_by, job.stalled_count, job.attempts_started) == ("python", 1, 2)


def test_a_job_that_our_worker_lost_is_nodes(
    server: EmbeddedServer, our_queue: OurQueue, node_worker: StartWorker
) -> None:
    job_id = our_queue.add("job")

    async def lose() -> None:
        from queuesim.core.broker import Terms

        (job,) = (await our_queue.queue.broker.exchange([], 1, Terms(0.3, None, "python"), "t:1", job_time())).jobs
        assert job.id == job_id

    our_queue.run(lose())
    node_worker(SLOW, lockDuration=500, stalledInterval=200)
    (job,) = completed(our_queue, 1)
    assert (job.processed_by, job.stalled_count) == ("node", 1)


def job_time() -> float:
    import time

    return time.time()


def test_one_stalled_check_an_interval(
    server: EmbeddedServer, our_queue: OurQueue, node: Node, node_worker: StartWorker
) -> None:
    """A check by either of them makes the other's do nothing until the interval is over."""
    from queuesim.core.broker import Terms

    our_queue.add("job")
    broker = our_queue.queue.broker
    our_queue.run(broker.exchange([], 1, Terms(30.0), "t:1", job_time()))
    worker = node.new("Worker", "mail", None, {"connection": node.connection, "stalledInterval": 60_000})
    worker.moveStalledJobsToWait()
    with Redis.from_url(server.url, decode_responses=True) as client:
        assert client.smembers("bull:mail:stalled") == {"1"}
        client.delete("bull:mail:1:lock")
        assert our_queue.run(broker.recover_stalled(60.0, 1, job_time())) == []
        client.delete("bull:mail:stalled-check")
        assert our_queue.run(broker.recover_stalled(60.0, 1, job_time())) == ["1"]
    worker.close(True)


def test_a_limiter_of_5_a_second_lets_12_start_at_0_1_and_2_s(server: EmbeddedServer, our_queue: OurQueue) -> None:
    """The official Python port takes 5 s a window, or hangs with a redis-py that has time-outs of its own."""
    our_queue.add_bulk([("job", {})] * 12)
    with working(processor_of(slow, "mail", concurrency=5, limiter=RateLimit(5, 1.0)), server):
        jobs = completed(our_queue, 12)
    starts = sorted(job.processed_on for job in jobs)
    windows = [starts[:5], starts[5:10], starts[10:]]
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(windows)]
    assert all(0.95 < gap < 2.0 for gap in gaps), gaps


def test_a_paused_list_of_version_5_loses_no_job(server: EmbeddedServer, our_queue: OurQueue) -> None:
    """Version 5 kept the jobs of a paused queue in a list `paused`; where it resumes, what waits is overwritten."""
    our_queue.add_bulk([("job", {})] * 3)
    with Redis.from_url(server.url, decode_responses=True) as client:
        # as a queue that version 5 paused after the first job
        client.lrem("bull:mail:wait", 1, "1")
        client.lpush("bull:mail:paused", "1")
        client.hset("bull:mail:meta", "paused", 1)
    our_queue.resume()
    assert {job.id for job in our_queue.get_jobs(JobState.WAITING)} == {"1", "2", "3"}


def heard(events: NodeObject) -> list[tuple[str, Any]]:
    return [(entry[0], entry[1].get("jobId")) for entry in events.heard() if isinstance(entry[1], dict)]


def test_nodes_queue_events_hear_our_transitions(server: EmbeddedServer, node: Node, our_queue: OurQueue) -> None:
    from queuesim.core.job import Deduplication, Keep

    # from the beginning of the stream on: to be ready does not mean to be reading
    events = node.new("QueueEvents", "mail", {"connection": node.connection, "lastEventId": "0-0"})
    events.waitUntilReady()
    events.listen()

    async def handler(job: Job) -> int:
        await job.update_progress(10)
        if job.id == "bad":
            raise OSError("no")
        return 7

    our_queue.add("job", job_id="good", keep_completed=Keep(count=0))
    our_queue.add("job", job_id="good")
    our_queue.add("job", job_id="bad", attempts=2, deduplication=Deduplication("d"))
    our_queue.add("job", deduplication=Deduplication("d"))
    our_queue.add("job", job_id="late", delay=60.0)
    our_queue.pause()
    our_queue.resume()
    our_queue.run(our_queue.queue.broker.remove("late", job_time()))
    with working(processor_of(handler, "mail"), server):
        until(lambda: ("retries-exhausted", "bad") in heard(events))
    until(lambda: events.heard("drained"))
    told = heard(events)
    for kind, job_id in [
        ("added", "good"), ("waiting", "good"), ("duplicated", "good"), ("active", "good"), ("progress", "good"),
        ("completed", "good"), ("deduplicated", "bad"), ("failed", "bad"), ("delayed", "late"), ("removed", "late"),
    ]:  # fmt: skip
        assert (kind, job_id) in told, kind
    assert [entry[0] for entry in events.heard("paused", "resumed")] == ["paused", "resumed"]
    (good,) = (entry[1] for entry in events.heard("completed"))
    assert good == {"jobId": "good", "returnvalue": 7, "prev": "active"}
    events.close()
