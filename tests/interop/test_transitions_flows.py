"""A child that ends does to its parent what it does on Node: BULLMQ.md, section 13. Node adds the trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hands import Both
from nodedriver import Node, NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Job, JobState
from queuesim.live.embedded import EmbeddedServer

RULES = {
    "none": {},
    "fail parent": {"failParentOnFailure": True},
    "continue parent": {"continueParentOnFailure": True},
    "ignore dependency": {"ignoreDependencyOnFailure": True},
    "remove dependency": {"removeDependencyOnFailure": True},
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
AddTree = Callable[..., None]


@pytest.fixture
def add_tree(both: Both, node: Node) -> AddTree:
    """Adds the parent p with children a and b, on both queues, by Node: there is one way to add a tree here."""

    def add(rule: dict[str, Any] | None = None, **parent: Any) -> None:
        for prefix in ("ours", "node"):
            producer = node.new("FlowProducer", {"connection": node.connection, "prefix": prefix})
            children = [
                {"name": "child", "queueName": "q", "data": {}, "opts": {"jobId": name, **(rule or {})}}
                for name in "ab"
            ]
            producer.add(
                {"name": "parent", "queueName": "q", "data": {}, "opts": {"jobId": "p", **parent}, "children": children}
            )
            producer.close()
        both.check()

    return add


@pytest.mark.parametrize("parent", [{}, {"priority": 3}, {"delay": 5_000}], ids=str)
def test_the_last_child_that_completes_lets_its_parent_run(
    both: Both, add_tree: AddTree, parent: dict[str, Any]
) -> None:
    add_tree(**parent)
    both.take()
    both.at(100)
    both.complete("a", {"n": 1})
    assert both.state("p") == "waiting-children"
    both.take()
    both.complete("b", 2)
    assert set(both.left()["p:processed"]["value"].values()) == {'{"n":1}', "2"}
    both.at(6_000)
    assert both.take() == "p"
    both.complete("p")


@every_rule
def test_a_child_that_fails(both: Both, add_tree: AddTree, rule: dict[str, Any]) -> None:
    add_tree(rule)
    both.take()
    both.fail("a", "it broke")
    both.take()
    if both.state("b") == "active":
        both.complete("b", 2)
    both.take()


@every_rule
def test_both_children_fail(both: Both, add_tree: AddTree, rule: dict[str, Any]) -> None:
    add_tree(rule, priority=2)
    both.take("t1")
    both.take("t2")
    both.fail("a", token="t1")
    both.at(50)
    both.fail("b", token="t2")
    both.take("t3")


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_child_that_is_not_kept(both: Both, add_tree: AddTree, end: str) -> None:
    add_tree({"removeOnComplete": True, "removeOnFail": True})
    for job_id in "ab":
        both.take()
        getattr(both, end)(job_id)
    both.take()


def test_a_parent_is_not_complete_before_its_children(both: Both, add_tree: AddTree) -> None:
    add_tree({"continueParentOnFailure": True})
    both.take()
    both.fail("a")
    assert both.take("t2") == "p"
    assert both.complete("p", token="t2") == -4


def test_a_child_that_is_removed_is_waited_for_no_longer(both: Both, add_tree: AddTree) -> None:
    add_tree()
    both.remove("a")
    both.remove("b")
    assert both.take() == "p"


def test_nodes_tree_over_two_queues_runs_here(
    server: EmbeddedServer, node: Node, node_queue: NodeObject, our_queue: OurQueue
) -> None:
    producer = node.new("FlowProducer", {"connection": node.connection})
    tree = producer.add(
        {
            "name": "parent", "queueName": "mail", "data": {},
            "children": [{"name": "child", "queueName": "parts", "data": {"n": n}} for n in (1, 2)],
        }
    )  # fmt: skip
    parent = tree["job"]

    async def double(job: Job) -> int:
        return 2 * int(job.data["n"])

    async def gather(job: Job) -> str:
        return "all there"

    with (
        working(processor_of(double, "parts", "child"), server),
        working(processor_of(gather, "mail", "parent"), server),
    ):
        until(lambda: our_queue.get_state(parent.json["id"]) is JobState.COMPLETED)
    assert sorted(parent.getChildrenValues().values()) == [2, 4]
    producer.close()
