"""A tree that is added leaves the same keys as on Node, and a child that ends does the same to its parent: BULLMQ.md,
section 13."""

from __future__ import annotations

from typing import Any

import pytest
from hands import RULES, Both
from nodedriver import Node, NodeObject
from pythonside import OurQueue, processor_of, until, working

from queuesim import Job, JobState
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.core.broker import OnFailure
from queuesim.core.job import Keep

pytestmark = pytest.mark.with_options

every_rule = pytest.mark.parametrize("rule", RULES)


@pytest.mark.parametrize("parent", [{}, {"priority": 3}, {"delay": 5_000}], ids=str)
def test_the_last_child_that_completes_lets_its_parent_run(both: Both, parent: dict[str, Any]) -> None:
    both.add_tree(**parent)
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
def test_a_child_that_fails(both: Both, rule: OnFailure) -> None:
    both.add_tree(rule)
    both.take()
    both.fail("a", "it broke")
    both.take()
    if both.state("b") == "active":
        both.complete("b", 2)
    both.take()


@every_rule
def test_both_children_fail(both: Both, rule: OnFailure) -> None:
    both.add_tree(rule, priority=2)
    both.take("t1")
    both.take("t2")
    both.fail("a", token="t1")
    both.at(50)
    both.fail("b", token="t2")
    both.take("t3")


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_child_that_is_not_kept(both: Both, end: str) -> None:
    both.add_tree(child={"keep_completed": Keep(count=0), "keep_failed": Keep(count=0)})
    for job_id in "ab":
        both.take()
        getattr(both, end)(job_id)
    both.take()


def test_a_parent_is_not_complete_before_its_children(both: Both) -> None:
    both.add_tree("continue")
    both.take()
    both.fail("a")
    assert both.take("t2") == "p"
    assert both.complete("p", token="t2") == -4


def test_a_child_that_is_removed_is_waited_for_no_longer(both: Both) -> None:
    both.add_tree()
    both.remove("a")
    both.remove("b")
    assert both.take() == "p"


def test_a_parent_is_not_complete_after_a_child_failed_it(both: Both) -> None:
    both.add_tree("continue")
    both.take("t1")
    both.take("t2")
    both.fail("a", token="t1")
    assert both.take("t3") == "p"
    both.fail("b", token="t2")
    assert both.complete("p", token="t3") is None


@every_rule
def test_children_that_run_again(both: Both, rule: OnFailure) -> None:
    both.add_tree(rule)
    both.take("t1")
    both.take("t2")
    both.fail("a", token="t1")
    both.complete("b", 2, token="t2")
    both.retry("a")
    both.retry("b", JobState.COMPLETED)
    both.take("t3")
    both.take("t4")
    both.take("t5")


@every_rule
def test_all_children_run_again(both: Both, rule: OnFailure) -> None:
    both.add_tree(rule)
    both.take("t1")
    both.take("t2")
    both.fail("a", token="t1")
    both.fail("b", token="t2")
    both.retry_all()


@pytest.mark.parametrize("how", ["drain", "clean", "obliterate"])
def test_children_that_are_removed_with_all_others(both: Both, how: str) -> None:
    both.add_tree()
    both.add("other")
    both.at(100)
    if how == "drain":
        both.drain()
    elif how == "clean":
        both.clean(0, 0, JobState.WAITING)
    else:
        both.pause()
        both.obliterate()


def test_failed_children_that_are_evicted(both: Both) -> None:
    both.add_tree(child={"keep_failed": Keep(count=1)})
    for now, job_id in enumerate("ab"):
        both.at(1_000 * (now + 1))
        both.take()
        both.fail(job_id)
    both.add("other", keep_failed=Keep(count=1))
    both.at(3_000)
    both.take()
    both.fail("1")
    both.take()


@pytest.mark.every_version
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
