"""Flows: trees of jobs, in which a parent runs when its children have ended."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from queuesim.broker.base import Broker
from queuesim.clock import now
from queuesim.errors import QueuesimError, ValidationError
from queuesim.job import DEFAULT_OPTIONS, JobOptions, to_json

OnFailure = Literal["wait", "fail", "continue", "ignore", "remove"]


class FlowError(QueuesimError):
    """A flow can't be added: an id in it is taken, or the queues live where there are no flows."""


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
class FlowRow:
    """A job of a flow, as a broker adds it. Parents come before their children."""

    id: str
    queue: str
    name: str
    data: str
    options: JobOptions
    on_failure: OnFailure
    parent: tuple[str, str] | None
    """(queue, id)."""
    has_children: bool


class FlowBroker(Protocol):
    """A broker that knows flows."""

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add all of them or none. Returns 0, or the place, from 1, of the first job whose id is taken."""
        ...

    async def children_values(self, job_id: str) -> Mapping[str, Any]:
        """What the children returned that have completed, by queue and id: "queue:id"."""
        ...


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
            FlowError: an id is taken, or the broker knows no flows.
            ValidationError: data that is no JSON.
        """
        root = self._name(flow)
        rows = list(_rows(flow, root, None))
        taken = await self._flows().add_flow(rows, now())
        if taken:
            raise FlowError(f"queue {rows[taken - 1].queue} has a job {rows[taken - 1].id} already: nothing was added")
        return root

    async def children_values(self, node: Node) -> Mapping[str, Any]:
        """What the children of a job returned, those that have completed, by "queue:id"."""
        return await cast(FlowBroker, self.broker.sibling(node.queue)).children_values(node.id)

    def _flows(self) -> FlowBroker:
        if not hasattr(self.broker, "add_flow"):
            raise FlowError(f"{type(self.broker).__name__} knows no flows: they need a queue on Redis, or on fakeredis")
        return cast(FlowBroker, self.broker)

    def _name(self, flow: Flow) -> Node:
        return Node(
            flow.options.job_id or self.new_id(), flow.queue, tuple(self._name(child) for child in flow.children)
        )


def _rows(flow: Flow, node: Node, parent: tuple[str, str] | None) -> Iterator[FlowRow]:
    try:
        data = "{}" if flow.data is None else to_json(flow.data)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"the data of job {flow.name!r} is no JSON: {error}") from None
    yield FlowRow(node.id, flow.queue, flow.name, data, flow.options, flow.on_failure, parent, bool(flow.children))
    for child, named in zip(flow.children, node.children, strict=True):
        yield from _rows(child, named, (node.queue, node.id))
