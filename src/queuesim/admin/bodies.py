"""What the API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from queuesim.tasks.model import Status
from queuesim.tasks.payloads import TaskId

Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Body(BaseModel):
    """A request's body: what is unknown is refused."""

    model_config = ConfigDict(extra="forbid")


class Letters(Body):
    """Which dead letters."""

    ids: Annotated[list[Id], Field(max_length=1000)] | None = None
    """Left out: all of them."""
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["1", "2"]}]})


class Retry(Body):
    """How to run a failed job again."""

    reset_attempts: Annotated[bool, Field(strict=True)] = False
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reset_attempts": True}]})


class BulkStatus(Body):
    """A status for many tasks."""

    task_ids: Annotated[list[TaskId], Field(min_length=1, max_length=10_000)]
    status: Status
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"task_ids": [1, 2], "status": "completed"}]}
    )


class ErrorOut(BaseModel):
    """What every error looks like."""

    error: str
    message: str
    correlation_id: str
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"error": "forbidden", "message": "the role admin is needed", "correlation_id": "6f1c"}]
        }
    )


class ScanOut(BaseModel):
    """A scan for overdue tasks."""

    id: int
    trigger: str
    began_at: float
    ended_at: float | None
    pages: int
    found: int
    enqueued: int
    duplicates: int


class MetricsOut(BaseModel):
    """The metrics of the queue."""

    queue: str
    since: float
    processed: int
    failed: int
    average_processing_time: float | None
    success_rate: float | None
    health: str
    paused: bool
    counts: dict[str, int]
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "queue": "task-processing", "since": 1735689600.0, "processed": 981, "failed": 4,
                    "average_processing_time": 0.118, "success_rate": 0.9959, "health": "healthy", "paused": False,
                    "counts": {"waiting": 12, "active": 5, "delayed": 2, "completed": 100, "failed": 4},
                }
            ]
        }
    )  # fmt: skip


class JobOut(BaseModel):
    """A job as it is now."""

    id: str
    name: str
    state: str
    data: Any
    attempts_made: int
    attempts_started: int
    failed_reason: str | None
    timestamp: float


class LetterOut(BaseModel):
    """A dead letter."""

    id: str
    job_id: str
    name: str
    data: Any
    reason: str
    buried: float
    history: list[dict[str, Any]]


class AuditOut(BaseModel):
    """An entry of the audit log."""

    id: int
    at: float
    actor: str
    action: str
    target: str
    outcome: str
    correlation_id: str
    detail: str


class Done(BaseModel):
    """What was done, and to how many."""

    done: str
    count: int = 1
