"""We add, Node's worker works: what we then read of our jobs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nodedriver import NodeObject
from pythonside import OurQueue, until

from queuesim import Backoff
from queuesim.core.job import Deduplication, JobOptions, JobState, Keep, NewJob

pytestmark = pytest.mark.every_version

StartWorker = Callable[..., NodeObject]


def test_results_progress_and_logs(our_queue: OurQueue, node_worker: StartWorker) -> None:
    job_id = our_queue.add("welcome", {"to": "ännchen", "n": [1, {"a": None}]})
    node_worker(
        "async job => { await job.updateProgress(50); await job.log('a row'); return {got: job.data, name: job.name} }"
    )
    until(lambda: our_queue.get_state(job_id) is JobState.COMPLETED)
    job = our_queue.get_job(job_id)
    assert job.return_value == {"got": {"to": "ännchen", "n": [1, {"a": None}]}, "name": "welcome"}
    assert job.progress == 50
    assert job.processed_by == "node"
    assert our_queue.logs(job_id) == ["a row"]
    assert job.timestamp <= job.processed_on <= job.finished_on


def test_attempts_backoff_and_failure(our_queue: OurQueue, node_worker: StartWorker) -> None:
    job_id = our_queue.add("job", {}, attempts=3, backoff=Backoff("exponential", delay=0.02))
    node_worker("async job => { throw new Error(`no ${job.attemptsMade}`) }")
    until(lambda: our_queue.get_state(job_id) is JobState.FAILED)
    job = our_queue.get_job(job_id)
    assert job.failed_reason == "no 2"
    assert job.attempts_made == 3
    assert [trace.splitlines()[0] for trace in job.stacktrace] == ["Error: no 0", "Error: no 1", "Error: no 2"]


def test_the_order_is_kept(our_queue: OurQueue, node_worker: StartWorker) -> None:
    jobs = [
        NewJob("job", "{}", JobOptions(priority=2, job_id="later")),
        NewJob("job", "{}", JobOptions(priority=1, job_id="sooner")),
        NewJob("job", "{}", JobOptions(delay=0.3, job_id="due")),
        NewJob("job", "{}", JobOptions(job_id="first")),
        NewJob("job", "{}", JobOptions(job_id="before", lifo=True)),
    ]
    our_queue.add_bulk(jobs)
    node_worker("async job => 1")
    until(lambda: our_queue.counts()[JobState.COMPLETED] == 5)
    active = [event.job_id for event in our_queue.events() if event.kind == "active"]
    assert active == ["before", "first", "sooner", "later", "due"]


def test_our_retention_and_deduplication_hold(our_queue: OurQueue, node_worker: StartWorker) -> None:
    for number in range(6):
        our_queue.add("job", {"n": number}, keep_completed=Keep(count=2), deduplication=Deduplication(f"d{number % 3}"))
    node_worker("async job => job.data.n")
    until(lambda: our_queue.counts()[JobState.COMPLETED] == 2 and our_queue.counts()[JobState.WAITING] == 0)
    assert our_queue.add("job", {}, deduplication=Deduplication("d0")) == "7"


def test_an_idle_node_worker_is_woken(our_queue: OurQueue, node_worker: StartWorker) -> None:
    """It would look by itself only after its drain delay."""
    worker = node_worker("async job => 1", drainDelay=600)
    worker.listen()
    first = our_queue.add("job", {})
    until(lambda: our_queue.get_state(first) is JobState.COMPLETED)
    until(lambda: worker.heard("drained"))
    second = our_queue.add("job", {})
    until(lambda: our_queue.get_state(second) is JobState.COMPLETED)
    delayed = our_queue.add("job", {}, delay=0.1)
    until(lambda: our_queue.get_state(delayed) is JobState.COMPLETED)


def test_our_redrive_runs_on_node(our_queue: OurQueue, node_worker: StartWorker) -> None:
    job_id = our_queue.add("job", {"fail": True})
    node_worker("async job => { if (job.data.fail) throw new Error('no'); return 'done' }")
    until(lambda: our_queue.get_state(job_id) is JobState.FAILED)
    our_queue.run(our_queue.queue.broker.update_data(job_id, '{"fail":false}', 0.0))
    our_queue.run(our_queue.queue.broker.retry(job_id, JobState.FAILED, True, 0.0))
    until(lambda: our_queue.get_state(job_id) is JobState.COMPLETED)
    assert our_queue.get_job(job_id).return_value == "done"
