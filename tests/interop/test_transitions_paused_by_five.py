"""A queue that BullMQ 5 paused keeps what waits in a list `paused`: operations on it leave the same keys as Node 6."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hands import Both
from nodedriver import NodeObject, SharedNode

from queuesim.core.job import JobState

FIVE = "bullmq5"


@pytest.fixture
def paused(both: Both, shared_nodes: dict[str, SharedNode]) -> Iterator[Both]:
    """Jobs 1, 2 and 3 in the list of version 5, 4 among the prioritized, 5 delayed."""
    both.add_bulk(3)
    both.add("job", priority=2)
    both.add("job", delay=60_000)
    five = shared_nodes[FIVE].running()
    queues: list[NodeObject] = []
    for prefix in ("ours", "node"):
        settings = {"connection": five.connection, "prefix": prefix, "skipMetasUpdate": True}
        queues.append(five.new("Queue", "q", settings))
        queues[-1].pause()
    both.check()
    assert both.left()["paused"]["value"] == ["3", "2", "1"]
    yield both
    for queue in queues:
        queue.close()


def test_it_is_resumed(paused: Both) -> None:
    paused.add("job")
    paused.resume()
    assert [paused.take() for _ in range(5)] == ["1", "2", "3", "6", "4"]


@pytest.mark.parametrize("job_id", list("12345"))
def test_where_jobs_are(paused: Both, job_id: str) -> None:
    paused.state(job_id)
    paused.counts()


@pytest.mark.parametrize("job_id", list("1245"))
def test_jobs_are_removed(paused: Both, job_id: str) -> None:
    paused.remove(job_id)
    paused.resume()


def test_it_is_drained(paused: Both) -> None:
    paused.drain(delayed=True)
    paused.resume()


def test_it_is_cleaned(paused: Both) -> None:
    paused.at(5_000)
    paused.clean(0, 0, JobState.WAITING)
    paused.resume()


def test_it_is_obliterated(paused: Both) -> None:
    paused.obliterate()
    assert paused.left() == {}


@pytest.mark.parametrize("job_id", list("145"))
def test_priorities_change(paused: Both, job_id: str) -> None:
    paused.change_priority(job_id, 1)
    paused.resume()


def test_what_is_delayed_is_promoted(paused: Both) -> None:
    paused.promote("5")
    paused.resume()
