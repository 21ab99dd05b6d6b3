"""Flows: trees of jobs that Python adds, and what becomes of their parents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from brokerdriver import FACTORIES, Driver
from redisservers import Clock

from queuesim import Flow, FlowProducer, JobOptions, ValidationError
from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.redis.fake import FakeServer, ObservedBroker
from queuesim.core.broker import Broker, Completed, Failed, Terms
from queuesim.core.clock import set_clock
from queuesim.core.flow import FlowError, Node
from queuesim.core.job import Children, Deduplication, Job, JobRef, JobState, Keep
from queuesim.results.recorder import Recorder

PENDING, FAILED = -4, -9


@pytest.fixture(params=sorted(FACTORIES))
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

    def told(self, node: Node) -> Children:
        return self.tests.run(self.producer.children(node))

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
    with pytest.raises(ValidationError, match="'leaf' is not JSON"):
        tree.add(parent(leaf(data={1, 2})))
    assert tree.tests.counts() == {}


def test_a_parent_is_not_complete_before_its_children(tree: Tree) -> None:
    root = tree.add(parent(leaf("a", on_failure="continue"), leaf("b", on_failure="fail")))
    first, second = tree.leaves.take(2)
    tree.end(first, tree.leaves, "failed")
    job = tree.tests.take_one()
    assert tree.tests.complete(job) == PENDING
    tree.end(second, tree.leaves, "failed")
    assert tree.tests.complete(job) == FAILED
    # it is still the worker's
    assert tree.tests.ids(JobState.ACTIVE) == [root.id]
    assert tree.tests.fail(job) == 0
    assert tree.tests.state(root.id) is JobState.FAILED


def test_what_is_told_of_children(tree: Tree) -> None:
    rules: tuple[Any, ...] = ("wait", "continue", "ignore", "remove", "fail", "fail")
    root = tree.add(parent(leaf("done"), *(leaf(rule, on_failure=rule) for rule in rules)))
    names = dict(zip([child.id for child in root.children], ["done", *rules], strict=True))
    for job in tree.leaves.take(6):
        tree.end(job, tree.leaves, "ok" if job.name == "done" else "failed")
    told = tree.told(root)
    assert {names[key.removeprefix("leaves:")]: value for key, value in told.values.items()} == {"done": "done"}
    ignored = {names[key.removeprefix("leaves:")]: reason for key, reason in told.ignored.items()}
    assert ignored == {"continue": "boom", "ignore": "boom"}
    assert told.failed == [f"leaves:{root.children[5].id}"]
    assert set(told.pending) == {f"leaves:{root.children[1].id}", f"leaves:{root.children[6].id}"}
    assert list(told.pending) == sorted(told.pending)
    assert tree.told(root.children[0]) == Children({}, {}, [], [])
    assert tree.tests.run(tree.tests.broker.children("nobody")) == Children({}, {}, [], [])


def test_a_job_offers_its_family_and_its_queue(tree: Tree) -> None:
    root = tree.add(parent(leaf(on_failure="ignore"), leaf(), leaf()))
    assert tree.tests.get(root.id).parent is None
    first, second, third = tree.leaves.take(3)
    for job in (first, tree.leaves.get(second.id)):
        assert (job.queue, job.parent, str(job.parent)) == ("leaves", JobRef("tests", root.id), f"tests:{root.id}")
    tree.end(first, tree.leaves, "failed")
    tree.end(second, tree.leaves)
    job = tree.tests.get(root.id)
    assert tree.tests.run(job.children_values()) == {f"leaves:{second.id}": "done"}
    assert tree.tests.run(job.ignored_failures()) == {f"leaves:{first.id}": "boom"}
    assert tree.tests.run(job.failed_children()) == []
    assert tree.tests.run(job.pending_children()) == [f"leaves:{third.id}"]


def test_a_parent_has_its_own_priority_and_its_delay_counts_from_its_release(tree: Tree) -> None:
    late = tree.add(parent(leaf(), delay=1.0, priority=2))
    urgent = tree.add(parent(leaf(), priority=1))
    tree.tests.add("other", priority=1)
    tree.tests.at(2000)
    for job in tree.leaves.take(2):
        tree.end(job, tree.leaves)
    assert tree.tests.state(late.id) is JobState.DELAYED
    assert tree.tests.state(urgent.id) is JobState.PRIORITIZED
    assert tree.tests.ids(JobState.PRIORITIZED)[1] == urgent.id
    assert len(tree.tests.at(2875).take(9)) == 2
    assert tree.tests.at(3000).take_ids() == [late.id]


def test_a_released_parent_goes_before_all_that_wait(tree: Tree) -> None:
    root = tree.add(parent(leaf()))
    other = tree.tests.add("other")
    tree.end(tree.leaves.take_one(), tree.leaves)
    assert tree.tests.take_ids(2) == [root.id, other]


def test_a_child_that_runs_again_is_waited_for_again(tree: Tree) -> None:
    root = tree.add(parent(leaf("a", on_failure="fail"), leaf("b")))
    first, second = tree.leaves.take(2)
    tree.end(first, tree.leaves, "failed")
    job = tree.tests.take_one()
    assert tree.tests.fail(job) == 0
    tree.leaves.run(tree.leaves.broker.retry(first.id, JobState.FAILED, True, 1.0))
    told = tree.told(root)
    assert (told.failed, len(told.pending)) == ([], 2)
    for again in (second, tree.leaves.take_one()):
        tree.end(again, tree.leaves)
    tree.tests.run(tree.tests.broker.retry(root.id, JobState.FAILED, True, 1.0))
    assert tree.tests.complete(tree.tests.take_one()) == 0
    assert len(tree.values(root)) == 2


@pytest.mark.parametrize("how", ["remove", "clean", "drain", "obliterate"])
def test_children_that_are_removed_are_waited_for_no_longer(tree: Tree, how: str) -> None:
    """But operations that remove many take a parent in their queue with them."""
    near = tree.add(Flow("parent", "leaves", children=[leaf()]))
    far = tree.add(parent(leaf(), priority=3))
    broker, now = tree.leaves.broker, tree.leaves.now
    if how == "remove":
        for root in (near, far):
            tree.leaves.run(broker.remove(root.children[0].id, now))
    elif how == "clean":
        tree.leaves.run(broker.clean(0.0, 0, JobState.WAITING, now))
    elif how == "drain":
        tree.leaves.run(broker.drain(False, now))
    else:
        tree.leaves.run(broker.pause(now))
        tree.leaves.run(broker.obliterate(False, now))
    assert tree.tests.counts() == {"waiting": 1}
    assert tree.leaves.state(near.id) == (JobState.WAITING if how == "remove" else None)
    assert tree.leaves.counts() == ({"waiting": 1} if how == "remove" else {})


def test_children_are_obliterated_state_by_state_and_the_parent_of_the_last_one_runs_first(tree: Tree) -> None:
    delayed, waiting, active, prioritized = (
        tree.add(parent(leaf(options=options)))
        for options in (JobOptions(delay=5.0), JobOptions(), JobOptions(lifo=True), JobOptions(priority=1))
    )
    (taken,) = tree.leaves.take(1)
    assert taken.id == active.children[0].id
    tree.leaves.run(tree.leaves.broker.pause(tree.leaves.now))
    tree.leaves.run(tree.leaves.broker.obliterate(True, tree.leaves.now))
    assert tree.tests.ids(JobState.WAITING) == [delayed.id, prioritized.id, waiting.id, active.id]


@pytest.mark.parametrize("backend", ["memory", "fakeredis"])
@pytest.mark.parametrize("how", ["drain", "clean", "obliterate"])
def test_an_observer_is_told_of_parents_that_are_removed_with_their_children(backend: str, how: str) -> None:
    async def program() -> list[int]:
        set_clock(lambda: 1.0)
        broker: Any = MemoryBroker("q") if backend == "memory" else ObservedBroker("q", FakeServer(lambda: 1.0))
        recorder = Recorder()
        broker.observe(recorder)
        producer = FlowProducer(broker)
        await producer.add(Flow("root", "q", children=[Flow("parent", "q", children=[Flow("leaf", "q")])]))
        await producer.add(Flow("parent", "q", children=[Flow("leaf", "q", options=JobOptions(delay=5.0))]))
        if how == "drain":
            await broker.drain(False, 1.0)
        elif how == "clean":
            await broker.clean(0.0, 0, JobState.WAITING, 1.0)
        else:
            await broker.pause(1.0)
            await broker.obliterate(False, 1.0)
        broker.flush()
        return recorder.removed_numbers

    assert asyncio.run(program()) == ([1, 2, 3, 4, 5] if how == "obliterate" else [1, 2, 3])


def test_a_failed_child_that_is_not_kept_is_waited_for_no_longer(tree: Tree) -> None:
    kept = JobOptions(keep_failed=Keep(1))
    root = tree.add(parent(leaf("a", options=kept), leaf("b", options=kept)))
    first, second = tree.leaves.take(2)
    tree.end(first, tree.leaves, "failed")
    tree.leaves.at(2000)
    tree.end(second, tree.leaves, "failed")
    assert tree.tests.state(root.id) is JobState.WAITING_CHILDREN
    tree.leaves.add(keep_failed=Keep(0))
    assert tree.leaves.fail(tree.leaves.take_one()) == 0
    assert tree.tests.state(root.id) is JobState.WAITING_CHILDREN
    tree.leaves.add(keep_failed=Keep(1))
    assert tree.leaves.at(3000).fail(tree.leaves.take_one()) == 0
    assert tree.tests.take_ids() == [root.id]


def test_a_parent_whose_id_has_colons_is_released_by_a_removal(tree: Tree) -> None:
    root = tree.add(parent(leaf(), job_id="a:b:c"))
    tree.leaves.run(tree.leaves.broker.remove(root.children[0].id, tree.leaves.now))
    assert tree.tests.state("a:b:c") is JobState.WAITING


def test_a_failover_forgets_and_knows_families_as_jobs() -> None:
    async def program() -> None:
        set_clock(lambda: 0.0)
        broker = MemoryBroker("tests")
        root = await FlowProducer(broker).add(Flow("parent", "tests", children=[Flow("leaf", "tests")]))
        image = broker.save()
        (job,) = (await broker.exchange([], 1, Terms(), "t", 0.0)).jobs
        await broker.exchange([Completed(job.id, "t")], 0, Terms(), "u", 0.0)
        assert await broker.state(root.id) is JobState.WAITING
        broker.restore(image)
        assert await broker.state(root.id) is JobState.WAITING_CHILDREN
        assert (await broker.children(root.id)).pending == [f"tests:{job.id}"]

    asyncio.run(program())


def test_two_jobs_of_one_id_are_refused(tree: Tree) -> None:
    twice = [leaf(options=JobOptions(job_id="k")), leaf(options=JobOptions(job_id="k"))]
    with pytest.raises(FlowError, match="two jobs of the flow have the id k in queue leaves"):
        tree.add(parent(*twice))
    assert tree.tests.counts() == {}


def test_a_deduplication_id_is_refused(tree: Tree) -> None:
    with pytest.raises(FlowError, match="'leaf' of the flow has a deduplication id"):
        tree.add(parent(leaf(options=JobOptions(deduplication=Deduplication("d")))))
    assert tree.tests.counts() == {}


def test_a_rule_that_there_is_not_is_refused(tree: Tree) -> None:
    rule: Any = "explode"
    with pytest.raises(FlowError, match="on_failure='explode': choose from wait, fail, continue, ignore, remove"):
        tree.add(parent(leaf(on_failure=rule)))
    assert tree.tests.counts() == {}


@pytest.mark.parametrize("queue", ["", "a:b", "half \ud83d"])
def test_a_queue_whose_name_can_be_no_key_is_refused(tree: Tree, queue: str) -> None:
    with pytest.raises(ValueError, match="a queue's name can't"):
        tree.add(parent(leaf(), Flow("child", queue)))
    assert tree.tests.counts() == {}


def test_an_id_that_a_queue_would_give_out_itself_is_refused(tree: Tree) -> None:
    tree.producer.new_id = lambda: "7"
    with pytest.raises(ValueError, match="would collide with automatic ids"):
        tree.add(parent(leaf()))
    assert tree.tests.counts() == {}


def test_data_beyond_the_size_limit_is_refused(tree: Tree) -> None:
    with pytest.raises(ValidationError, match="its size limit is 4"):
        tree.add(parent(leaf(data="more than that", options=JobOptions(size_limit=4))))
    assert tree.tests.counts() == {}
