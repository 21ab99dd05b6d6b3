"""Tasks: what they are, and what may be asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from queuesim.core.errors import DATABASE, VALIDATION, ErrorRule, ValidationError
from queuesim.error import QueuesimError


class Status(StrEnum):
    """How far a task is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do: only such a task can be overdue."""
        return self in (Status.PENDING, Status.IN_PROGRESS)


LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was read. Times are seconds on the queue's clock: since the Unix epoch, unless simulated."""

    id: int
    title: str
    assignee: str
    status: Status
    due_at: float | None
    notify_at: float | None
    """When its assignee is to be notified next that it is overdue; None: never."""
    version: int
    """Counts its changes, from 1. A change names the version that was read."""
    created_at: float
    updated_at: float


def read_task(row: Any) -> Task:
    """The task in a row of the table."""
    return Task(**{**row._mapping, "status": Status(row.status)})


def check_title(title: str) -> str:
    """The title without white space around it. Raises ValidationError if it is empty or too long."""
    stripped = title.strip()
    if not 0 < len(stripped) <= LONGEST_TITLE or "\0" in stripped:
        raise ValidationError(f"a title has from 1 to {LONGEST_TITLE} characters, not {len(stripped)}")
    return stripped


def due_seconds(due: datetime | float | None) -> float | None:
    """A due date as seconds. Raises ValidationError for one without a time zone: nobody knows when that is."""
    if isinstance(due, datetime):
        if due.tzinfo is None:
            raise ValidationError(f"the due date {due.isoformat()} has no time zone: write it as {due.isoformat()}Z")
        return due.astimezone(UTC).timestamp()
    if due is not None and not abs(due) < 1e11:
        raise ValidationError(f"a due date is a time in seconds, not {due}")
    return due


# -- What the three job types carry: a schema each. Data that do not fit are refused before a handler sees them

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
    """Notify the assignee of a new task."""

    task_id: TaskId


class OverdueTasks(Payload):
    """Notify the assignees of overdue tasks."""

    task_ids: Annotated[list[TaskId], Field(min_length=1, max_length=10_000)]
    scan: Annotated[int, Field(ge=0)] = 0
    """The scan that found them; 0 if none did."""


# -- Errors of the task service, and how errors of its database are categorised


class TaskMissingError(ValidationError):
    """There is no such task: it was deleted, or never was. Never retried."""

    def __init__(self, task_id: int) -> None:
        self.task_id = task_id
        super().__init__(f"there is no task {task_id}")


class ConflictError(QueuesimError):
    """The task was changed since it was read: read it again. Retried."""

    def __init__(self, task_id: int, expected: int, found: int) -> None:
        self.task_id, self.expected, self.found = task_id, expected, found
        super().__init__(f"task {task_id} has version {found}, not {expected}: it was changed since it was read")


def rules() -> tuple[ErrorRule, ...]:
    """For a processor: data that the database refuses stay refused, whatever else is wrong with it may pass."""
    from sqlalchemy import exc

    return (
        ErrorRule(ConflictError, DATABASE),
        ErrorRule((exc.IntegrityError, exc.DataError), VALIDATION, retryable=False),
        ErrorRule(exc.SQLAlchemyError, DATABASE),
    )
