"""What the API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuesim.job import Job, JobState
from queuesim.redrives import RedriveStatus
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


class Discarded(Body):
    """Which dead letters to throw away: some by their ids, or everything, which has to be said."""

    ids: Annotated[list[Id], Field(max_length=1000)] | None = None
    everything: Annotated[bool, Field(strict=True)] = False
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"ids": ["1", "2"]}, {"everything": True}]}
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.ids is None) is not self.everything:
            raise ValueError('write {"ids": [...]} for some letters, or {"everything": true} for all of them')
        return self


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

    @classmethod
    def of(cls, job: Job, state: JobState) -> JobOut:
        """A job that is in this state."""
        given = {name: getattr(job, name) for name in cls.model_fields if name != "state"}
        return cls(state=state.value, **given)


class LetterOut(BaseModel):
    """A dead letter."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    job_id: str
    name: str
    data: Any
    reason: str
    buried: float
    history: list[dict[str, Any]]
    origin: str
    redrives: int
    unreadable: str


class RedriveOut(BaseModel):
    """A dead letter that was redriven, and the status of its job."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "letter": "3", "queue": "task-processing", "job_id": "redriven-3-6f1c", "failed": "17",
                    "name": "task-created", "origin": "17", "redrives": 1, "redriven": 1_700_000_000.0,
                    "status": "dead again", "reason": "there is no task 99",
                }
            ]
        },
    )  # fmt: skip

    letter: str
    queue: str
    job_id: str
    failed: str
    name: str
    origin: str
    redrives: int
    redriven: float
    status: RedriveStatus
    reason: str


class Done(BaseModel):
    """What was done, and to how many."""

    done: str
    count: int = 1
