"""A job scheduler goes on, whichever end made it and whichever works it: BULLMQ.md, section 11."""

from __future__ import annotations

from collections.abc import Callable

from nodedriver import NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Job, JobState
from queuesim.live.embedded import EmbeddedServer
from queuesim.schedule import Every


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
