"""The routes of the admin API, and the JSON that they take and give."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuesim.admin.guard import Administration, AuditRow
from queuesim.admin.metrics import Metrics, exposition
from queuesim.core.deadletters import Letter, Redrive, RedriveStatus
from queuesim.core.errors import JobError
from queuesim.core.job import Job, JobState
from queuesim.extras import need
from queuesim.tasks.model import Status, TaskId
from queuesim.tasks.overdue import ScanReport

need("fastapi", "admin", "the admin API's routes")
need("fastapi_offline", "admin", "the page of the admin API")

from fastapi import APIRouter, Depends, Query, Request, Response  # noqa: E402
from fastapi import Path as InPath  # noqa: E402
from fastapi.responses import FileResponse  # noqa: E402


async def _administration(request: Request) -> Administration:
    # async: FastAPI would call an ordinary function in a thread
    admin: Administration = request.app.state.admin
    return admin


Admin = Annotated[Administration, Depends(_administration)]
VISIBLE = r"^[^\x00-\x1f\x7f]+$"
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=VISIBLE)]
JobId = Annotated[str, InPath(min_length=1, max_length=200, pattern=VISIBLE)]
Ids = Annotated[list[Id], Field(max_length=1000)]
Start = Annotated[int, Query(ge=0, le=10**9)]
Limit = Annotated[int, Query(ge=1, le=1000)]

# -- Bodies: what is unknown is refused


def _body(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [*examples]})


class DeadLetterIds(BaseModel):
    """Which dead letters."""

    ids: Ids | None = None
    """Left out: all of them."""
    model_config = _body({"ids": ["1", "2"]})


class Discard(BaseModel):
    """Which dead letters to delete: some by their ids, or everything, which must be said."""

    ids: Ids | None = None
    everything: Annotated[bool, Field(strict=True)] = False
    model_config = _body({"ids": ["1", "2"]}, {"everything": True})

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.ids is None) is not self.everything:
            raise ValueError('write {"ids": [...]} for some dead letters, or {"everything": true} for all of them')
        return self


class Retry(BaseModel):
    """How to run a failed job again."""

    reset_attempts: Annotated[bool, Field(strict=True)] = False
    model_config = _body({"reset_attempts": True})


class BulkStatus(BaseModel):
    """A status for many tasks."""

    task_ids: Annotated[list[TaskId], Field(min_length=1, max_length=10_000)]
    status: Status
    model_config = _body({"task_ids": [1, 2], "status": "completed"})


# -- Answers


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


class DeadLetterOut(BaseModel):
    """A dead letter."""

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


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": text}
    for status, text in (
        (400, "the request is not valid HTTP or its body not valid JSON"), (401, "no valid token"),
        (403, "not an administrator"), (404, "there is no such thing"),
        (409, "it is not in the state that this needs"), (413, "too large a body"),
        (422, "the request does not fit"), (429, "too many requests"), (500, "something went wrong"),
        (503, "the queue or the audit log can't be reached"),
    )
}  # fmt: skip

# -- For everybody, and for Prometheus

public = APIRouter(tags=["health"], responses=ERRORS)


@public.get("/health")
async def health(admin: Admin) -> dict[str, str]:
    """Whether the queue can be reached."""
    await admin.queue.counts()
    return {"status": "ok"}


@public.get("/metrics", response_class=Response)
async def prometheus(admin: Admin) -> Response:
    """The queue's metrics in the text format of Prometheus."""
    text, content_type = exposition(await admin.meter.read())
    return Response(text, media_type=content_type)


# -- Swagger UI on /docs: its scripts come from here, so that the page asks nobody else for anything

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>queuesim admin</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy: nothing from elsewhere, and no script in the page itself."""
ASSETS = Path(str(files("fastapi_offline"))) / "static"
"""Of the wheel fastapi-offline, which follows Swagger UI's releases."""

page = APIRouter(prefix="/docs", include_in_schema=False)


@page.get("")
async def docs() -> Response:
    """The page."""
    return Response(PAGE, media_type="text/html", headers={"content-security-policy": POLICY})


@page.get("/start.js")
async def start() -> Response:
    """What starts Swagger UI."""
    return Response(START, media_type="text/javascript")


@page.get("/swagger-ui-bundle.js")
async def bundle() -> FileResponse:
    """Swagger UI."""
    return FileResponse(ASSETS / "swagger-ui-bundle.js", media_type="text/javascript")


@page.get("/swagger-ui.css")
async def style() -> FileResponse:
    """Its style."""
    return FileResponse(ASSETS / "swagger-ui.css", media_type="text/css")


# -- For administrators

MISSING = -1
"""A refusal's code: there is no such job (BullMQ 6.7)."""

administrators = APIRouter(prefix="/tasks/admin", tags=["admin"], responses=ERRORS)


@administrators.post("/trigger-overdue-check")
async def trigger_overdue_check(admin: Admin) -> list[ScanReport]:
    """Scan for overdue tasks now."""
    return await admin.scan.run("manual")


@administrators.post("/bulk-status")
async def bulk_status(admin: Admin, body: BulkStatus) -> Done:
    """Have jobs give many tasks a status."""
    return Done(done="queued", count=await admin.service.change_status_bulk(body.task_ids, body.status))


@administrators.get("/queue-metrics")
async def queue_metrics(admin: Admin) -> Metrics:
    """The outcomes of jobs since the last reset, and where jobs are now."""
    return await admin.meter.read()


@administrators.post("/reset-queue-metrics")
async def reset_queue_metrics(admin: Admin) -> Done:
    """Count from zero again."""
    await admin.meter.follow()
    admin.meter.reset()
    return Done(done="reset")


@administrators.post("/pause")
async def pause(admin: Admin) -> Done:
    """No job starts any more."""
    await admin.queue.pause()
    return Done(done="paused")


@administrators.post("/resume")
async def resume(admin: Admin) -> Done:
    """Jobs start again."""
    await admin.queue.resume()
    return Done(done="resumed")


@administrators.get("/dead-letters", response_model=list[DeadLetterOut])
async def dead_letters(admin: Admin, start: Start = 0, limit: Limit = 100) -> list[Letter]:
    """Jobs that failed for good, the oldest first."""
    return await admin.dead_letters.list(start, start + limit - 1)


@administrators.get("/dead-letters/redrives", response_model=list[RedriveOut])
async def redrives(admin: Admin, start: Start = 0, limit: Limit = 100) -> Sequence[Redrive]:
    """Redrives of dead letters, the newest first, each with the status of its job."""
    return await admin.dead_letters.redrives(start, start + limit - 1)


@administrators.post("/dead-letters/redrive")
async def redrive(admin: Admin, body: DeadLetterIds) -> Done:
    """Run jobs again that failed for good."""
    return Done(done="redriven", count=len(await admin.dead_letters.redrive(body.ids)))


@administrators.post("/dead-letters/discard")
async def discard(admin: Admin, body: Discard) -> Done:
    """Delete dead letters."""
    return Done(done="discarded", count=await admin.dead_letters.discard(body.ids, everything=body.everything))


@administrators.get("/jobs/{job_id}")
async def job(admin: Admin, job_id: JobId) -> JobOut:
    """A job, and where it is."""
    found, state = await admin.queue.get_job(job_id), await admin.queue.get_state(job_id)
    if found is None or state is None:
        raise JobError(job_id, MISSING, "find")
    return JobOut.of(found, state)


@administrators.post("/jobs/{job_id}/retry")
async def retry(admin: Admin, job_id: JobId, body: Retry) -> Done:
    """Run a failed job again."""
    await admin.queue.retry(job_id, JobState.FAILED, reset_attempts=body.reset_attempts)
    return Done(done="retried")


@administrators.get("/audit-log")
async def audit_log(admin: Admin, limit: Limit = 100) -> list[AuditRow]:
    """What administrators did, and what was refused: the newest first."""
    return await admin.log.newest(limit)
