"""The processor of the task service: the queue's configuration, and the three handlers on a task store.

Each handler changes everything in one transaction, and may run any number of times: the second run finds the first.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert

from queuesim.core.clock import now
from queuesim.core.job import Backoff, Job, JobOptions, Keep, RateLimit
from queuesim.core.processor import Processor
from queuesim.tasks import queries
from queuesim.tasks.model import (
    CREATED,
    OVERDUE,
    STATUS_UPDATE,
    ConflictError,
    Created,
    OverdueTasks,
    StatusUpdate,
    rules,
)
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import notifications

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
