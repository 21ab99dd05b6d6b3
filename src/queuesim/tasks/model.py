"""Tasks: what they are, and what may be asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from queuesim.errors import ValidationError


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
    """When its assignee is to be told that it is overdue, at first or again; None: never."""
    version: int
    """Counts its changes, from 1: who changes it says which one was read."""
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
