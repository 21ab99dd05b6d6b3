"""The task service: its processor and handlers, and the service as its callers see it.

Every change is a transaction, and its jobs leave when that has committed. Each handler changes everything in one
transaction, and may run any number of times: the second run finds the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, insert

from queuesim.core.clock import now
from queuesim.core.errors import ValidationError
from queuesim.core.job import Backoff, Job, JobOptions, Keep, NewJob, RateLimit
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue
from queuesim.tasks import queries
from queuesim.tasks.model import (
    CREATED,
    OVERDUE,
    STATUS_UPDATE,
    ConflictError,
    Created,
    OverdueTasks,
    Status,
    StatusUpdate,
    Task,
    TaskMissingError,
    check_title,
    due_seconds,
    rules,
)
from queuesim.tasks.outbox import Delivery
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import notifications

# -- The processor of the task service: the queue's configuration, and the three handlers on a task store


QUEUE = "task-processing"
WINDOW = 24 * 3600.0
"""Seconds within which nobody is notified twice that a task is overdue."""


def task_processor(store: TaskStore, *, queue: str = QUEUE, window: float = WINDOW, **settings: Any) -> Processor:
    """The processor of the task service.

    Args:
        store: the tasks.
        window: seconds within which nobody is notified twice that a task is overdue.
        settings: of `Processor`, in place of those of the task service: concurrency 5, 100 starts a minute, 3 attempts
            with exponential backoff from 1 s, 100 completed and 50 failed jobs kept, dead letters.
    """
    if not window > 0:
        raise ValueError(f"a window must be above 0 s, not {window}")
    configuration: dict[str, Any] = {
        "concurrency": 5,
        "limiter": RateLimit(100, 60.0),
        "defaults": JobOptions(attempts=3, backoff=Backoff("exponential", delay=1.0)),
        "keep_completed": Keep(100),
        "keep_failed": Keep(50),
        "dead_letters": f"{queue}-dead",
        "rules": rules(),
    }
    processor = Processor(queue, **(configuration | settings))
    add_handlers(processor, store, window)
    return processor


def add_handlers(processor: Processor, store: TaskStore, window: float = WINDOW) -> None:
    """Register the three handlers with a processor."""

    @processor.job(STATUS_UPDATE, data=StatusUpdate)
    async def task_status_update(job: Job) -> dict[str, Any]:
        """Give a task a status. Raises TaskMissingError, and ConflictError if another version was meant."""
        update, time = job.data, now()
        return await store.run(lambda connection: _update_status(connection, update, time, window))

    @processor.job(CREATED, data=Created)
    async def task_created(job: Job) -> dict[str, Any]:
        """Notify the assignee of a new task, once. Raises TaskMissingError."""
        task_id, time = job.data.task_id, now()
        return await store.run(lambda connection: _announce(connection, task_id, job.id, time))

    @processor.job(OVERDUE, data=OverdueTasks)
    async def overdue_tasks_notification(job: Job) -> dict[str, int]:
        """Notify the assignees of overdue tasks, but those that were closed, notified or deleted meanwhile."""
        task_ids, time = job.data.task_ids, now()
        return await store.run(lambda connection: queries.notify_overdue(connection, task_ids, job.id, time, window))


def _update_status(connection: Connection, update: StatusUpdate, time: float, window: float) -> dict[str, Any]:
    task = queries.get_task(connection, update.task_id)
    if not queries.apply_once(connection, f"status:{update.key}", time):
        return {"task_id": task.id, "status": task.status.value, "changed": False}
    if update.version is not None and update.version != task.version:
        raise ConflictError(task.id, update.version, task.version)
    changed = queries.set_status(connection, task, update.status, time, window)
    return {"task_id": task.id, "status": changed.status.value, "changed": changed.version != task.version}


def _announce(connection: Connection, task_id: int, job_id: str, time: float) -> dict[str, Any]:
    task = queries.get_task(connection, task_id)
    if not queries.apply_once(connection, f"created:{task_id}", time):
        return {"task_id": task_id, "notified": False}
    row = {"task_id": task_id, "kind": "created", "assignee": task.assignee, "sent_at": time, "job_id": job_id}
    connection.execute(insert(notifications).values(row))
    return {"task_id": task_id, "notified": True}


# -- The service


MOST_AT_ONCE = 10_000
"""Tasks in one bulk update."""


class TaskService:
    """Tasks, and the jobs that belong to their changes.

    Args:
        store: the tasks.
        queue: makes the jobs, with its default options.
        delivery: brings them into the queue.
        window: seconds within which nobody is notified twice that a task is overdue.
        new_key: a name for a change that no other has; a simulation draws it from its seed.
    """

    def __init__(
        self,
        store: TaskStore,
        queue: Queue,
        delivery: Delivery,
        *,
        window: float = WINDOW,
        new_key: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self.store = store
        self.queue = queue
        self.delivery = delivery
        self.window = window
        self.new_key = new_key

    async def create(self, title: str, assignee: str, due: datetime | float | None = None) -> Task:
        """A new task, and the job that notifies its assignee.

        Raises:
            ValidationError: no title, or a due date without a time zone.
        """
        checked, due_at, time = check_title(title), due_seconds(due), self.queue.now()

        def work(connection: Connection) -> tuple[Task, list[NewJob]]:
            task = queries.add_task(connection, checked, assignee, due_at, time)
            jobs = [self.queue.new_job(CREATED, {"task_id": task.id})]
            self.delivery.stage(connection, jobs, time)
            return task, jobs

        task, jobs = await self.store.run(work)
        await self.delivery.deliver(jobs)
        return task

    async def get(self, task_id: int) -> Task:
        """The task. Raises TaskMissingError."""
        return await self.store.run(lambda connection: queries.get_task(connection, task_id))

    async def change(
        self, task: Task, *, title: str | None = None, assignee: str | None = None, due: datetime | float | None = None
    ) -> Task:
        """Change a task that was read before; what is None stays. Raises ConflictError if it was changed since."""
        changes: dict[str, Any] = {}
        if title is not None:
            changes["title"] = check_title(title)
        if assignee is not None:
            changes["assignee"] = assignee
        if due is not None:
            changes["due_at"] = due_seconds(due)
        time = self.queue.now()

        def work(connection: Connection) -> Task:
            if due is not None and task.status.is_open:
                changes["notify_at"] = queries.next_notice(connection, task.id, changes["due_at"], self.window)
            return queries.change_task(connection, task, time, **changes)

        return await self.store.run(work)

    async def delete(self, task_id: int) -> None:
        """Delete a task; jobs that are about it find it gone. Raises TaskMissingError."""
        await self.store.run(lambda connection: queries.remove_task(connection, task_id))

    async def change_status(self, task_id: int, status: Status, *, version: int | None = None) -> None:
        """Have a job give a task its status. Raises TaskMissingError."""
        await self._request([task_id], status, version)

    async def change_status_bulk(self, task_ids: Iterable[int], status: Status) -> int:
        """Have jobs give many tasks a status: all of the jobs leave together, or none. Returns how many.

        Raises:
            TaskMissingError: one of the tasks is not there; none gets a job.
            ValidationError: there are none, or too many.
        """
        ids = list(dict.fromkeys(task_ids))
        if not 0 < len(ids) <= MOST_AT_ONCE:
            raise ValidationError(f"a bulk update has from 1 to {MOST_AT_ONCE} tasks, not {len(ids)}")
        return await self._request(ids, status, None)

    async def _request(self, task_ids: list[int], status: Status, version: int | None) -> int:
        time = self.queue.now()

        jobs = [
            self.queue.new_job(
                STATUS_UPDATE,
                {"task_id": task_id, "status": status.value, "key": self.new_key(), "version": version},
            )
            for task_id in task_ids
        ]

        def work(connection: Connection) -> None:
            missing = set(task_ids) - queries.existing(connection, task_ids)
            if missing:
                raise TaskMissingError(min(missing))
            self.delivery.stage(connection, jobs, time)

        await self.store.run(work)
        await self.delivery.deliver(jobs)
        return len(jobs)
