"""Errors of the task service, and how errors of its database are categorised."""

from __future__ import annotations

from queuesim.errors import DATABASE, VALIDATION, ErrorRule, QueuesimError, ValidationError


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
