"""Flows in memory: what a job that ends does to the parent that waits for it, which may be in another queue."""

from __future__ import annotations

from typing import Any

from queuesim.broker.memory.family import Family
from queuesim.broker.memory.log import TRIM_AT
from queuesim.broker.memory.names import (
    DELAYED,
    FAILED,
    WAITING,
    WAITING_CHILDREN,
    WAITING_CHILDREN_EVENT,
    WAITING_EVENT,
)
from queuesim.broker.memory.record import Record
from queuesim.broker.memory.state import QueueState
from queuesim.family import Children
from queuesim.job import JobRef

PREFIX = "bull"
"""What a child's key begins with in the reason of a deferred failure, where BullMQ writes the whole key in Redis."""


class Parents(QueueState):
    """Parents in the state waiting-children, and how they leave it."""

    async def children(self, job_id: str) -> Children:
        """The outcomes of a job's children; see Broker.children."""
        record = self._records.get(job_id)
        family = None if record is None else record.family
        return (Family() if family is None else family).told()

    def _await_children(self, record: Record, now: float) -> None:
        record.state = WAITING_CHILDREN
        record.family = Family()
        self._waiting_children[record.id] = (now, record)
        self._emit((now, WAITING_CHILDREN_EVENT, record.number, record.id, None, None))

    def _home(self, record: Record) -> tuple[Any, Record, Family] | None:
        """The queue of a job's parent, the parent, and what that knows of its children; None: there is no such job."""
        if record.parent is None:
            return None
        queue = self._open_sibling(record.parent.queue)
        parent: Record | None = queue._records.get(record.parent.id)
        return None if parent is None or parent.family is None else (queue, parent, parent.family)

    def _child_completed(self, record: Record, value: str, now: float) -> None:
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is None:
            return
        queue, parent, family = home
        if child in family.pending:
            family.pending.remove(child)
            family.values[child] = value
            if not family.pending:
                queue._release_parent(parent, now)

    def _child_failed(self, record: Record, reason: str, now: float) -> None:
        """What follows is the child's own option; without one its parent waits for ever."""
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is None or record.on_failure == "wait" or child not in home[2].pending:
            return
        queue, parent, family = home
        family.pending.remove(child)
        if record.on_failure == "fail":
            family.failed.add(child)
            queue._fail_parent(parent, child, now)
            return
        if record.on_failure != "remove":
            family.ignored[child] = reason
        if record.on_failure == "continue" or not family.pending:
            queue._release_parent(parent, now)

    def _release_parent(self, parent: Record, now: float) -> None:
        """Let it run if it waits for children."""
        if parent.state is WAITING_CHILDREN:
            self._take_out(parent)
            self._move_parent(parent, now)

    def _move_parent(self, parent: Record, now: float) -> None:
        """A delay of its own counts from now."""
        if parent.delay > 0:
            self._postpone(parent, now + parent.delay, now)
            self._trim_and_wake()
            return
        parent.ready_at = now
        # to the front of wait (BullMQ 6.7)
        self._enqueue(parent, lifo=True)
        self._emit((now, WAITING_EVENT, parent.number, parent.id, WAITING_CHILDREN, None))
        self._trim_and_wake()

    def _fail_parent(self, parent: Record, child: JobRef, now: float) -> None:
        """A child failed for good, and its parent is to fail with it: as soon as a worker takes it."""
        waits = parent.state in (WAITING_CHILDREN, DELAYED)
        if waits:
            self._take_out(parent)
        if parent.state is DELAYED:
            parent.delay = 0.0
        if parent.state is not FAILED:
            parent.deferred_failure = f"child {PREFIX}:{child} failed"
            parent.marked = True
        if waits:
            self._move_parent(parent, now)

    def _child_removed(self, record: Record, now: float, *, hard: bool = False) -> None:
        """A child is gone: its parent waits for it no longer. A parent that waits for no other goes to wait, whatever
        its priority; but if one operation removes many jobs (`hard`), a parent in their queue goes with them, and no
        event tells of either (BullMQ 6.7)."""
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is None or child not in home[2].pending:
            return
        queue, parent, family = home
        family.pending.remove(child)
        if family.pending or parent.state is not WAITING_CHILDREN:
            return
        queue._take_out(parent)
        if hard and queue is self:
            self._remove_parent(parent, now)
            return
        parent.ready_at = now
        parent.state = WAITING
        queue._wait.appendleft(parent)
        if not hard:
            queue._emit((now, WAITING_EVENT, parent.number, parent.id, WAITING_CHILDREN, None))
        queue._trim_and_wake()

    def _remove_parent(self, parent: Record, now: float) -> None:
        del self._records[parent.id]
        self._child_removed(parent, now, hard=True)
        self._tell_removed([parent])

    def _child_restarted(self, record: Record) -> None:
        """A child that ended runs again: its parent knows of its end no longer. A parent that waits for children waits
        for it again; any other can't complete before it (BullMQ 6.7)."""
        home, child = self._home(record), JobRef(self.queue, record.id)
        if home is not None and home[2].forget(child):
            home[2].pending.add(child)

    def _trim_and_wake(self) -> None:
        """What an operation on this queue does at its end, after one on another queue."""
        if len(self._log.entries) >= TRIM_AT:
            self._log.trim()
        self._wake()
