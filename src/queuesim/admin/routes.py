"""The queue as a whole: its metrics, and whether jobs start."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from queuesim.admin.administration import Administration
from queuesim.admin.audit import AuditLog, AuditRow
from queuesim.admin.guard import BulkStatus, Discarded, Done, ErrorOut, JobOut, LetterOut, Letters, RedriveOut, Retry
from queuesim.admin.metrics import Meter, Metrics
from queuesim.core.deadletters import DeadLetters
from queuesim.core.errors import JobError
from queuesim.core.job import JobState
from queuesim.core.queue import Queue
from queuesim.extras import need
from queuesim.tasks.overdue import OverdueScan, ScanReport
from queuesim.tasks.task_service import TaskService


def queue_routes(queue: Queue, meter: Meter) -> APIRouter:
    """What administrators may see of a queue, and do to it."""
    router = APIRouter()

    @router.get("/queue-metrics")
    async def queue_metrics() -> Metrics:
        """What became of jobs since the last reset, and where they are now."""
        return await meter.read()

    @router.post("/reset-queue-metrics")
    async def reset_queue_metrics() -> Done:
        """Count from zero again."""
        await meter.follow()
        meter.reset()
        return Done(done="reset")

    @router.post("/pause")
    async def pause() -> Done:
        """No job starts any more."""
        await queue.pause()
        return Done(done="paused")

    @router.post("/resume")
    async def resume() -> Done:
        """Jobs start again."""
        await queue.resume()
        return Done(done="resumed")

    return router


# -- The audit log, to read


def audit_routes(log: AuditLog) -> APIRouter:
    """What administrators may see of each other."""
    router = APIRouter()

    @router.get("/audit-log")
    async def audit_log(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[AuditRow]:
        """What administrators did, and what was refused: the newest first."""
        return await log.newest(limit)

    return router


# -- Whether all is well: for everybody, and for Prometheus


def health_routes(queue: Queue, meter: Meter) -> APIRouter:
    """Health and metrics."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Whether the queue can be reached."""
        await queue.counts()
        return {"status": "ok"}

    @router.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """The queue's metrics in the text format of Prometheus."""
        from queuesim.admin.metrics import exposition

        text, content_type = exposition(await meter.read())
        return Response(text, media_type=content_type)

    return router


# -- Single jobs

JobId = Annotated[str, InPath(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
MISSING = -1
"""A refusal's code: there is no such job (BullMQ 6.7)."""


def jobs_routes(queue: Queue) -> APIRouter:
    """What administrators may see of a job, and do with it."""
    router = APIRouter(prefix="/jobs/{job_id}")

    @router.get("")
    async def job(job_id: JobId) -> JobOut:
        """A job, and where it is."""
        found, state = await queue.get_job(job_id), await queue.get_state(job_id)
        if found is None or state is None:
            raise JobError(job_id, MISSING, "find")
        return JobOut.of(found, state)

    @router.post("/retry")
    async def retry(job_id: JobId, body: Retry) -> Done:
        """Run a failed job again."""
        await queue.retry(job_id, JobState.FAILED, reset_attempts=body.reset_attempts)
        return Done(done="retried")

    return router


# -- Dead letters: jobs that failed for good


def letters_routes(dead: DeadLetters) -> APIRouter:
    """What administrators may see of dead letters, and do with them."""
    router = APIRouter(prefix="/dead-letters")

    @router.get("")
    async def dead_letters(
        start: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[LetterOut]:
        """Jobs that failed for good, the oldest first."""
        return [LetterOut.model_validate(letter) for letter in await dead.list(start, start + limit - 1)]

    @router.get("/redrives")
    async def redrives(
        start: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[RedriveOut]:
        """Redrives of dead letters, the newest first, each with the status of its job."""
        return [RedriveOut.model_validate(redrive) for redrive in await dead.redrives(start, start + limit - 1)]

    @router.post("/redrive")
    async def redrive(body: Letters) -> Done:
        """Run jobs again that failed for good."""
        return Done(done="redriven", count=len(await dead.redrive(body.ids)))

    @router.post("/discard")
    async def discard(body: Discarded) -> Done:
        """Throw dead letters away."""
        return Done(done="discarded", count=await dead.discard(body.ids, everything=body.everything))

    return router


# -- Swagger UI on /docs: its scripts come from here, so that the page asks nobody else for anything

need("fastapi_offline", "admin", "the page of the admin API")

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
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of the wheel fastapi-offline, which follows Swagger UI's releases."""


def page_routes() -> APIRouter:
    """The page, and what it loads. None of it is in the OpenAPI document."""
    router = APIRouter(include_in_schema=False)
    static = Path(str(files("fastapi_offline"))) / "static"

    @router.get("/docs")
    async def docs() -> Response:
        return Response(PAGE, media_type="text/html", headers={"content-security-policy": POLICY})

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(START, media_type="text/javascript")

    for name, media_type in ASSETS.items():
        router.add_api_route(f"/docs/{name}", _sender(static / name, media_type), methods=["GET"])
    return router


def _sender(file: Path, media_type: str):  # type: ignore[no-untyped-def]
    async def send() -> FileResponse:
        return FileResponse(file, media_type=media_type)

    return send


# -- The tasks: a scan for those that are overdue, and statuses for many


def tasks_routes(scan: OverdueScan, service: TaskService) -> APIRouter:
    """What administrators may do to tasks."""
    router = APIRouter()

    @router.post("/trigger-overdue-check")
    async def trigger_overdue_check() -> list[ScanReport]:
        """Scan for overdue tasks now."""
        return await scan.run("manual")

    @router.post("/bulk-status")
    async def bulk_status(body: BulkStatus) -> Done:
        """Have jobs give many tasks a status."""
        return Done(done="queued", count=await service.change_status_bulk(body.task_ids, body.status))

    return router


# -- The routes, a module for each thing that they are about

PREFIX = "/tasks/admin"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": text}
    for status, text in (
        (400, "the request is no HTTP or no JSON"), (401, "no valid token"), (403, "not an administrator"),
        (404, "there is no such thing"), (409, "it is not in the state that this needs"), (413, "too large a body"),
        (422, "the request does not fit"), (429, "too many requests"), (500, "something went wrong"),
        (503, "the queue or the audit log can't be reached"),
    )
}  # fmt: skip


def all_routes(admin: Administration, meter: Meter, log: AuditLog) -> APIRouter:
    """Every route of the API."""
    routes = APIRouter(responses=ERRORS)
    routes.include_router(health_routes(admin.queue, meter))
    routes.include_router(page_routes())
    for part in (
        tasks_routes(admin.scan, admin.service),
        queue_routes(admin.queue, meter),
        letters_routes(admin.letters),
        jobs_routes(admin.queue),
        audit_routes(log),
    ):
        routes.include_router(part, prefix=PREFIX, tags=["admin"])
    return routes
