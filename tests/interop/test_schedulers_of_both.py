"""A job scheduler goes on, whichever end made it and whichever works it: BULLMQ.md, section 11."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nodedriver import NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Backoff, Job, JobOptions, JobState, Keep
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.core.scheduler import Every

pytestmark = pytest.mark.every_version


def test_node_works_and_reads_ours(
    our_queue: OurQueue, node_queue: NodeObject, node_worker: Callable[..., NodeObject]
) -> None:
    our_queue.upsert_scheduler("tick", Every(0.2), "job", {"n": 1})
    (found,) = node_queue.getJobSchedulers()
    assert (found["key"], found["name"], found["every"]) == ("tick", "job", 200)
    node_worker("async job => job.data.n")
    until(lambda: our_queue.counts()[JobState.COMPLETED] >= 3)
    assert node_queue.removeJobScheduler("tick") is True
    assert our_queue.schedulers() == []


def test_we_work_and_read_nodes(server: EmbeddedServer, our_queue: OurQueue, node_queue: NodeObject) -> None:
    async def note(job: Job) -> int:
        return int(job.data["n"])

    node_queue.upsertJobScheduler("tick", {"every": 200}, {"name": "job", "data": {"n": 7}})
    (found,) = our_queue.schedulers()
    assert (found.id, found.name) == ("tick", "job")
    with working(processor_of(note, "mail"), server):
        until(lambda: our_queue.counts()[JobState.COMPLETED] >= 3)
    assert {job.return_value for job in our_queue.get_jobs(JobState.COMPLETED)} == {7}
    (scheduler,) = node_queue.getJobSchedulers()
    assert scheduler["iterationCount"] >= 3
    assert our_queue.remove_scheduler("tick") is True
    assert node_queue.getJobSchedulers() == []


TEMPLATE: dict[str, Any] = {
    "attempts": 4,
    "backoff": {"type": "exponential", "delay": 50, "jitter": 0.5},
    "priority": 3,
    "removeOnComplete": {"age": 60, "count": 500},
    "removeOnFail": True,
    "stackTraceLimit": 2,
    "custom": {"only": "theirs"},
}


async def nothing(job: Job) -> None:
    pass


def jobs_of(queue: NodeObject) -> list[dict[str, Any]]:
    """Opts of all jobs, without what each has for itself."""
    own = ("jobId", "delay", "timestamp", "prevMillis", "repeat", "repeatJobKey")
    jobs = queue.getJobs(["completed", "delayed", "prioritized"])
    return [{key: value for key, value in job.json["opts"].items() if key not in own} for job in jobs]


def test_the_options_of_nodes_template_are_kept_whoever_fires(
    server: EmbeddedServer, our_queue: OurQueue, node_queue: NodeObject, node_worker: Callable[..., NodeObject]
) -> None:
    """What we don't know, too; and the same after Node upserted over a scheduler of ours."""
    our_queue.upsert_scheduler("tick", Every(0.2), "job", None, JobOptions(attempts=9, priority=1))
    node_queue.upsertJobScheduler("tick", {"every": 200}, {"name": "job", "opts": TEMPLATE})
    (found,) = our_queue.schedulers()
    assert found.options == JobOptions(
        attempts=4, backoff=Backoff("exponential", 0.05, 0.5), priority=3, keep_completed=Keep(500, 60.0),
        keep_failed=Keep(0), stack_trace_limit=2,
    )  # fmt: skip
    with working(processor_of(nothing, "mail"), server):
        until(lambda: our_queue.counts()[JobState.COMPLETED] >= 3)
    node_worker("async job => null")
    until(lambda: our_queue.counts()[JobState.COMPLETED] >= 6)
    assert all(opts == TEMPLATE for opts in jobs_of(node_queue))


def test_node_keeps_the_options_of_our_template(
    our_queue: OurQueue, node_queue: NodeObject, node_worker: Callable[..., NodeObject]
) -> None:
    options = JobOptions(attempts=4, backoff=Backoff("fixed", 0.05), priority=3, keep_completed=Keep(500))
    our_queue.upsert_scheduler("tick", Every(0.2), "job", None, options)
    (found,) = node_queue.getJobSchedulers()
    assert found["template"]["opts"] == {
        "attempts": 4, "backoff": {"type": "fixed", "delay": 50}, "priority": 3, "removeOnComplete": 500
    }  # fmt: skip
    node_worker("async job => null")
    until(lambda: our_queue.counts()[JobState.COMPLETED] >= 3)
    assert all(opts == found["template"]["opts"] for opts in jobs_of(node_queue))
    assert our_queue.schedulers()[0].options == options


def test_we_go_on_with_a_scheduler_of_nodes_whose_id_has_colons(
    server: EmbeddedServer, our_queue: OurQueue, node_queue: NodeObject
) -> None:
    node_queue.upsertJobScheduler("a:b:7", {"every": 200}, {"name": "job"})
    with working(processor_of(nothing, "mail"), server):
        until(lambda: our_queue.counts()[JobState.COMPLETED] >= 3)
    assert [scheduler.id for scheduler in our_queue.schedulers()] == ["a:b:7"]
