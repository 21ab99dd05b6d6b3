"""Flows: trees of jobs, in which a parent runs when its children have ended."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from queuesim.core.broker import Broker, FlowRow, OnFailure
from queuesim.core.clock import time_at
from queuesim.core.job import DEFAULT_OPTIONS, Children, JobOptions, JobRef, check_job_id, check_queue_name
from queuesim.core.queue import data_text
from queuesim.error import QueuesimError

RULES = get_args(OnFailure)


class FlowError(QueuesimError):
    """A flow can't be added: an id in it is taken or given twice, or a job of it has an option that no flow has."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A job with those that go before it. Children may be in other queues than their parent."""

    name: str
    queue: str
    data: Any = None
    options: JobOptions = DEFAULT_OPTIONS
    children: Sequence[Flow] = ()
    on_failure: OnFailure = "wait"
    """What this job does to its parent when it fails for good (BullMQ 6.7): the parent waits for ever; it fails
    (failParentOnFailure); it runs at once (continueParentOnFailure); it no longer waits for this job
    (ignoreDependencyOnFailure), or forgets it (removeDependencyOnFailure)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A job of a flow that was added."""

    id: str
    queue: str
    children: tuple[Node, ...] = ()


@dataclass(slots=True)
class FlowProducer:
    """Adds flows.

    Args:
        broker: of any queue in the place where the flows go.
        new_id: makes the id of a job that has no custom one: a UUID, as BullMQ's flows have.
    """

    broker: Broker
    new_id: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))

    async def add(self, flow: Flow) -> Node:
        """Add a tree of jobs in one step and return their ids.

        Raises:
            FlowError: an id is taken, or two jobs of the flow have one id; a job has a deduplication id, for a flow
                with a job that is not added would be incomplete; or there is no such rule as its `on_failure`.
            ValidationError: the data is not JSON, or larger than `size_limit`.
            ValueError: an invalid custom id, or an invalid name of a queue.
        """
        root = self._name(flow)
        rows = list(_rows(flow, root, None))
        _check(rows)
        taken = await self.broker.add_flow(rows, time_at(self.broker))
        if taken:
            raise FlowError(f"queue {rows[taken - 1].queue} has a job {rows[taken - 1].id} already: nothing was added")
        return root

    async def children(self, node: Node) -> Children:
        """The outcomes of a job's children so far."""
        return await self.broker.sibling(node.queue).children(node.id)

    async def children_values(self, node: Node) -> Mapping[str, Any]:
        """What the children of a job returned, those that have completed, by "queue:id"."""
        return (await self.children(node)).values

    def _name(self, flow: Flow) -> Node:
        job_id = flow.options.job_id
        if job_id is None:
            job_id = self.new_id()
            check_job_id(job_id)
        return Node(job_id, flow.queue, tuple(self._name(child) for child in flow.children))


def _rows(flow: Flow, node: Node, parent: JobRef | None) -> Iterator[FlowRow]:
    data = data_text(flow.name, flow.data, flow.options)
    yield FlowRow(node.id, flow.queue, flow.name, data, flow.options, flow.on_failure, parent, bool(flow.children))
    for child, named in zip(flow.children, node.children, strict=True):
        yield from _rows(child, named, JobRef(node.queue, node.id))


def _check(rows: Sequence[FlowRow]) -> None:
    known: set[tuple[str, str]] = set()
    for row in rows:
        if (row.queue, row.id) in known:
            raise FlowError(f"two jobs of the flow have the id {row.id} in queue {row.queue}: nothing was added")
        known.add((row.queue, row.id))
        if row.options.deduplication is not None:
            raise FlowError(f"job {row.name!r} of the flow has a deduplication id, which no job of a flow can have")
        if row.on_failure not in RULES:
            rules = ", ".join(RULES)
            raise FlowError(f"job {row.name!r} of the flow has on_failure={row.on_failure!r}: choose from {rules}")
        check_queue_name(row.queue)
