"""Jobs with options that are not the defaults, added and worked at either end: all of them come out alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hands import job_options, node_flow, node_options
from nodedriver import Node, NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Flow, FlowProducer, Job, JobState
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.core.job import Keep, NewJob, to_json

pytestmark = pytest.mark.every_version
StartWorker = Callable[..., NodeObject]

JOBS: dict[str, tuple[int, dict[str, Any]]] = {
    "fails": (9, {"attempts": 3, "backoff": {"type": "fixed", "delay": 20}, "stack_trace_limit": 2}),
    "recovers": (2, {"attempts": 5, "backoff": {"type": "exponential", "delay": 10}}),
    "at-once": (1, {"attempts": 2, "lifo": True}),
    "urgent": (1, {"priority": 1, "attempts": 2}),
    "late": (0, {"delay": 150, "priority": 7}),
    "jittered": (1, {"attempts": 2, "backoff": {"type": "fixed", "delay": 20, "jitter": 0.5}}),
    "not-kept": (0, {"keep_completed": Keep(count=0), "attempts": 2}),
    "failed-not-kept": (9, {"keep_failed": Keep(count=0), "attempts": 2}),
    "kept-by-age": (0, {"keep_completed": Keep(age=3600, count=100)}),
    "single": (0, {"deduplication": {"id": "one"}, "delay": 50}),
    "duplicate": (0, {"deduplication": {"id": "one"}, "delay": 50}),
    "throttled": (9, {"deduplication": {"id": "two", "ttl": 60_000}, "attempts": 2}),
}
"""By the job's id: how many attempts fail, and its options in ms."""
OUTCOMES: dict[str, tuple[str, int, int] | None] = {
    "fails": ("failed", 3, 2),
    "recovers": ("completed", 3, 2),
    "at-once": ("completed", 2, 1),
    "urgent": ("completed", 2, 1),
    "late": ("completed", 1, 0),
    "jittered": ("completed", 2, 1),
    "not-kept": None,
    "failed-not-kept": None,
    "kept-by-age": ("completed", 1, 0),
    "single": ("completed", 1, 0),
    "duplicate": None,
    "throttled": ("failed", 2, 2),
    "parent": ("completed", 1, 0),
    "good": ("completed", 2, 1),
    "bad": ("failed", 2, 2),
}
"""State, attempts and stack traces at the end; None: the job is gone, or was never there."""
FLOW = Flow(
    "job", "mail", {"fail": 0}, job_options(job_id="parent", priority=2),
    children=[
        Flow("job", "mail", {"fail": 1}, job_options(job_id="good", attempts=2, delay=30)),
        Flow("job", "mail", {"fail": 9}, job_options(job_id="bad", attempts=2), on_failure="ignore"),
    ],
)  # fmt: skip
WORK = "async job => { if (job.attemptsMade < job.data.fail) throw new Error('not yet'); return job.attemptsMade }"


async def work(job: Job) -> int:
    if job.attempts_made < job.data["fail"]:
        raise OSError("not yet")
    return job.attempts_made


def add_at_node(node: Node, queue: NodeObject) -> None:
    jobs = [
        {"name": "job", "data": {"fail": fails}, "opts": node_options(job_options(**options, job_id=job_id))}
        for job_id, (fails, options) in JOBS.items()
    ]
    queue.addBulk(jobs)
    producer = node.new("FlowProducer", {"connection": node.connection})
    producer.add(node_flow(FLOW))
    producer.close()


def add_here(queue: OurQueue) -> None:
    queue.add_bulk(
        [
            NewJob("job", to_json({"fail": fails}), job_options(**options, job_id=job_id))
            for job_id, (fails, options) in JOBS.items()
        ]
    )
    queue.run(FlowProducer(queue.queue.broker).add(FLOW))


def outcomes(queue: OurQueue) -> dict[str, tuple[str, int, int] | None]:
    """Of all jobs, when none is left to do."""
    unfinished = (
        JobState.WAITING, JobState.PRIORITIZED, JobState.DELAYED, JobState.ACTIVE, JobState.WAITING_CHILDREN,
    )  # fmt: skip
    until(lambda: not any(queue.counts()[state] for state in unfinished))
    found: dict[str, tuple[str, int, int] | None] = {}
    for job_id in OUTCOMES:
        job = queue.get_job(job_id)
        found[job_id] = job and (queue.get_state(job_id).value, job.attempts_made, len(job.stacktrace))
    return found


@pytest.mark.parametrize("workers", ["node's worker", "our worker", "both workers"])
@pytest.mark.parametrize("adding", ["added by node", "added here"])
def test_every_job_comes_out_alike(
    server: EmbeddedServer,
    node: Node,
    node_queue: NodeObject,
    our_queue: OurQueue,
    node_worker: StartWorker,
    adding: str,
    workers: str,
) -> None:
    add_at_node(node, node_queue) if adding == "added by node" else add_here(our_queue)
    if workers != "our worker":
        node_worker(WORK, concurrency=2)
    if workers == "node's worker":
        assert outcomes(our_queue) == OUTCOMES
        return
    with working(processor_of(work, "mail", concurrency=2), server):
        assert outcomes(our_queue) == OUTCOMES
