"""What the three job types carry: a schema each. Data that do not fit are refused before a handler sees them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from queuesim.tasks.model import Status

STATUS_UPDATE = "task-status-update"
CREATED = "task-created"
OVERDUE = "overdue-tasks-notification"

TaskId = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
Key = Annotated[str, Field(min_length=1, max_length=200)]


class Payload(BaseModel):
    """The data of a job: what is unknown is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StatusUpdate(Payload):
    """Give a task a status."""

    task_id: TaskId
    status: Status
    key: Key
    """Stands for this very change: made once, however often the job runs."""
    version: Annotated[int, Field(strict=True, ge=1)] | None = None
    """The version of the task that the change was asked for; any, if left out."""


class Created(Payload):
    """Tell the assignee of a new task."""

    task_id: TaskId


class OverdueTasks(Payload):
    """Tell the assignees of tasks that these are overdue."""

    task_ids: Annotated[list[TaskId], Field(min_length=1, max_length=10_000)]
    scan: Annotated[int, Field(ge=0)] = 0
    """The scan that found them; 0 if none did."""
