"""Node adds, our worker works: what Node then reads of its jobs."""

from __future__ import annotations

import asyncio

import pytest
from nodedriver import Node, NodeError, NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Job, UnrecoverableError
from queuesim.brokers.redis.embedded import EmbeddedServer

pytestmark = pytest.mark.every_version


async def echo(job: Job) -> object:
    await job.update_progress({"done": 50})
    await job.log("a row")
    return {"name": job.name, "data": job.data}


def test_results_progress_and_logs_are_read_by_node(server: EmbeddedServer, node: Node, node_queue: NodeObject) -> None:
    events = node.new("QueueEvents", "mail", {"connection": node.connection})
    events.waitUntilReady()
    job = node_queue.add("welcome", {"to": "ännchen", "n": [1, {"a": None}]})
    with working(processor_of(echo, "mail", "welcome"), server):
        expected = {"name": "welcome", "data": {"to": "ännchen", "n": [1, {"a": None}]}}
        assert job.waitUntilFinished(events, 20_000) == expected
    found = node_queue.getJob(job.json["id"])
    assert found.getState() == "completed"
    assert found.json["returnvalue"] == expected
    assert found.json["progress"] == {"done": 50}
    assert found.json["processedBy"] == "python"
    assert found.json["attemptsMade"] == found.json["attemptsStarted"] == 1
    assert found.json["timestamp"] <= found.json["processedOn"] <= found.json["finishedOn"]
    assert node_queue.getJobLogs("1") == {"logs": ["a row"], "count": 1}
    events.close()


def test_a_failure_is_read_with_its_reason_and_stack_traces(
    server: EmbeddedServer, node: Node, node_queue: NodeObject
) -> None:
    async def fail(job: Job) -> None:
        raise UnrecoverableError("no such address") if job.attempts_made == 1 else ConnectionError("busy")

    events = node.new("QueueEvents", "mail", {"connection": node.connection})
    events.waitUntilReady()
    options = {"attempts": 5, "backoff": {"type": "exponential", "delay": 5}, "stackTraceLimit": 10}
    job = node_queue.add("job", {}, options)
    with working(processor_of(fail, "mail"), server), pytest.raises(NodeError, match="no such address"):
        job.waitUntilFinished(events, 20_000)
    found = node_queue.getJob("1")
    assert found.getState() == "failed"
    assert found.json["failedReason"] == "no such address"
    assert found.json["attemptsMade"] == 2
    first, second = found.json["stacktrace"]
    assert "ConnectionError: busy" in first
    assert "test_node_adds.py" in second
    events.close()


def test_many_with_priorities_delays_and_ids(server: EmbeddedServer, node_queue: NodeObject) -> None:
    ran: list[str] = []

    async def note(job: Job) -> None:
        ran.append(job.id)

    jobs: list[dict[str, object]] = [
        {"name": "job", "data": {}, "opts": {"priority": 2, "jobId": "later"}},
        {"name": "job", "data": {}, "opts": {"priority": 1, "jobId": "sooner"}},
        {"name": "job", "data": {}, "opts": {"delay": 300, "jobId": "due"}},
        {"name": "job", "data": {}, "opts": {"jobId": "first"}},
    ]
    node_queue.addBulk(jobs)
    with working(processor_of(note, "mail"), server):
        until(lambda: len(ran) == 4)
        until(lambda: node_queue.getJobCounts("completed") == {"completed": 4})
    assert ran == ["first", "sooner", "later", "due"]


def test_nodes_retention_and_deduplication_options_hold(server: EmbeddedServer, node_queue: NodeObject) -> None:
    for number in range(6):
        node_queue.add("job", {"n": number}, {"removeOnComplete": 2, "deduplication": {"id": f"d{number % 3}"}})
    with working(processor_of(echo, "mail"), server):
        # version 5 counts jobs of a paused queue by themselves
        until(lambda: {**node_queue.getJobCounts("completed", "waiting", "active"), "paused": 0} == {
            "completed": 2, "waiting": 0, "active": 0, "paused": 0,
        })  # fmt: skip
    # the ids are free again
    assert node_queue.getDeduplicationJobId("d0") is None


def test_nodes_attempts_and_jittered_backoff_are_kept_to(
    server: EmbeddedServer, node_queue: NodeObject, our_queue: OurQueue
) -> None:
    async def fail(job: Job) -> None:
        raise OSError("again")

    node_queue.add("job", {}, {"attempts": 3, "backoff": {"type": "fixed", "delay": 20, "jitter": 0.5}})
    with working(processor_of(fail, "mail"), server):
        until(lambda: node_queue.getJobCounts("failed") == {"failed": 1})
    delays = [event.fields["delay"] for event in our_queue.events() if event.kind == "delayed"]
    assert len(delays) == 2
    assert node_queue.getJob("1").json["attemptsMade"] == 3


def test_a_rate_limit_error_holds_the_queue(server: EmbeddedServer, node_queue: NodeObject) -> None:
    """Whoever throws it leaves the job's attempts as they were."""
    from queuesim import RateLimit, RateLimitError

    async def limited_once(job: Job) -> None:
        if job.attempts_started == 1:
            raise RateLimitError(0.2)

    node_queue.add("job", {})
    with working(processor_of(limited_once, "mail", limiter=RateLimit(100, 60.0)), server):
        until(lambda: node_queue.getJobCounts("completed") == {"completed": 1})
    found = node_queue.getJob("1").json
    assert (found["attemptsMade"], found["attemptsStarted"]) == (1, 2)


def test_our_worker_is_seen_in_nodes_list(server: EmbeddedServer, node_queue: NodeObject) -> None:
    async def idle(job: Job) -> None:
        await asyncio.sleep(0)

    with working(processor_of(idle, "mail"), server):
        assert until(lambda: node_queue.getWorkersCount()) == 1
