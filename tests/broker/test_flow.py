"""Flows: trees of jobs that Python adds, and what becomes of their parents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from brokerdriver import FACTORIES, Driver
from redisplaces import Clock

from queuesim import Flow, FlowProducer, JobOptions, ValidationError
from queuesim.broker.base import Broker, Completed, Failed
from queuesim.broker.memory import MemoryBroker
from queuesim.clock import set_clock
from queuesim.flow import FlowError, Node
from queuesim.job import Job, JobState


@pytest.fixture(params=sorted(set(FACTORIES) - {"memory"}))
def tree(request: pytest.FixtureRequest) -> Iterator[Tree]:
    clock = Clock()
    clock.now = 1.0
    with asyncio.Runner() as runner:

        async def make() -> Broker:
            set_clock(clock)
            return await FACTORIES[request.param](clock)

        broker = runner.run(make())
        yield Tree(broker, runner, clock)
        runner.run(broker.close())


class Tree:
    """Two queues of one place: parents in "tests", children in "leaves"."""

    def __init__(self, broker: Broker, runner: asyncio.Runner, clock: Clock) -> None:
        self.tests = Driver(broker, runner, clock)
        self.leaves = Driver(broker.sibling("leaves"), runner, clock)
        self.numbers = count(1)
        self.producer = FlowProducer(broker, lambda: f"id-{next(self.numbers)}")

    def add(self, flow: Flow) -> Node:
        async def add() -> Node:
            set_clock(self.tests.clock)
            return await self.producer.add(flow)

        return self.tests.run(add())

    def values(self, node: Node) -> Any:
        return self.tests.run(self.producer.children_values(node))

    def end(self, job: Job, queue: Driver, outcome: str = "ok") -> None:
        kind: Any = Completed(job.id, job.token, '"done"') if outcome == "ok" else Failed(job.id, job.token, "boom")
        assert queue.exchange([kind], 0).refused is None


def parent(*children: Flow, **options: Any) -> Flow:
    return Flow("parent", "tests", {"a": 1}, JobOptions(**options), children)


def leaf(name: str = "leaf", **more: Any) -> Flow:
    return Flow(name, "leaves", **more)


def test_a_parent_runs_when_its_children_have_completed_and_sees_what_they_returned(tree: Tree) -> None:
    root = tree.add(parent(leaf("a"), leaf("b")))
    assert tree.tests.state(root.id) is JobState.WAITING_CHILDREN
    assert tree.tests.take() == []
    first, second = tree.leaves.take(2)
    assert (first.name, second.name) == ("a", "b")
    tree.end(first, tree.leaves)
    assert tree.tests.take() == []
    tree.end(second, tree.leaves)
    (job,) = tree.tests.take()
    assert (job.id, job.name, job.data) == (root.id, "parent", {"a": 1})
    assert tree.values(root) == {f"leaves:{child.id}": "done" for child in root.children}


def test_trees_have_any_depth_and_a_delayed_child_is_delayed(tree: Tree) -> None:
    root = tree.add(parent(Flow("middle", "tests", children=(leaf(options=JobOptions(delay=2.0)),))))
    (middle,) = root.children
    assert tree.leaves.take() == []
    (job,) = tree.leaves.at(3000).take()
    tree.end(job, tree.leaves)
    (job,) = tree.tests.take(2)
    assert job.id == middle.id
    tree.end(job, tree.tests)
    assert tree.tests.take_ids() == [root.id]


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ("wait", "waiting-children"),
        ("fail", "waiting"),
        ("continue", "waiting"),
        ("ignore", "waiting"),
        ("remove", "waiting"),
    ],
)
def test_what_a_failed_child_does_to_its_parent(tree: Tree, rule: Any, state: str) -> None:
    root = tree.add(parent(leaf(on_failure=rule)))
    tree.end(tree.leaves.take_one(), tree.leaves, "failed")
    assert tree.tests.state(root.id) == state
    assert (tree.tests.get(root.id).deferred_failure is not None) == (rule == "fail")


def test_events_and_counts_of_a_new_tree(tree: Tree) -> None:
    root = tree.add(parent(leaf()))
    assert [(kind.value, job_id) for kind, job_id, _ in tree.tests.story()] == [
        ("added", root.id),
        ("waiting-children", root.id),
    ]
    assert [kind.value for kind in tree.leaves.kinds()] == ["added", "waiting"]
    assert tree.tests.counts() == {"waiting-children": 1}
    assert tree.tests.ids(JobState.WAITING_CHILDREN) == [root.id]


def test_a_tree_with_an_id_that_is_taken_is_not_added_at_all(tree: Tree) -> None:
    tree.leaves.add(job_id="taken")
    with pytest.raises(FlowError, match="queue leaves has a job taken already"):
        tree.add(parent(leaf("new"), leaf(options=JobOptions(job_id="taken"))))
    assert tree.tests.counts() == {}
    assert tree.leaves.counts() == {"waiting": 1}


def test_data_that_is_no_json_is_refused(tree: Tree) -> None:
    with pytest.raises(ValidationError, match="'leaf' is no JSON"):
        tree.add(parent(leaf(data={1, 2})))
    assert tree.tests.counts() == {}


def test_a_queue_in_memory_says_that_it_knows_no_flows() -> None:
    with pytest.raises(FlowError, match="need a queue on Redis"):
        asyncio.run(FlowProducer(MemoryBroker("tests")).add(parent()))
