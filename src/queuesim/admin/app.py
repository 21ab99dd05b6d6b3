"""The application: its routes, behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Annotated, Any

from queuesim import __version__
from queuesim.admin import bodies
from queuesim.admin.audit import AuditLog
from queuesim.admin.guard import INTERNAL, LARGEST_BODY, Guard, error_body
from queuesim.admin.limits import RequestLimiter
from queuesim.admin.metering import Meter
from queuesim.admin.tokens import Verifier
from queuesim.clock import Clock, set_clock
from queuesim.deadletters import DeadLetters, Letter
from queuesim.errors import BrokerUnavailableError, JobError, ValidationError
from queuesim.extras import need
from queuesim.job import JobState
from queuesim.queue import Queue
from queuesim.tasks import OverdueScan, TaskMissingError, TaskService, TaskStore

need("fastapi", "admin", "the admin API's routes")

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response  # noqa: E402
from fastapi.exceptions import RequestValidationError  # noqa: E402
from starlette.exceptions import HTTPException  # noqa: E402

LOOK = 1.0
"""Seconds between two looks at the queue's events."""
JobId = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.ErrorOut, "description": text}
    for status, text in (
        (400, "the request is no HTTP or no JSON"), (401, "no valid token"), (403, "not an administrator"),
        (404, "there is no such thing"), (409, "it is not in the state that this needs"), (413, "too large a body"),
        (422, "the request does not fit"), (429, "too many requests"), (500, "something went wrong"),
        (503, "the queue or the audit log can't be reached"),
    )
}  # fmt: skip


@dataclass
class Administration:
    """All that the API administers."""

    queue: Queue
    letters: DeadLetters
    store: TaskStore
    service: TaskService
    scan: OverdueScan
    verifier: Verifier
    limiter: RequestLimiter | None = None
    largest_body: int = LARGEST_BODY
    clock: Clock | None = None
    """The queue's clock; the event loop's, if None."""
    beside: list[Callable[[], Any]] = field(default_factory=list)
    """Coroutine functions that run as long as the API does: a worker, a relay."""


def create_app(admin: Administration) -> Any:
    """The ASGI application."""
    meter, log = Meter(admin.queue), AuditLog(admin.store)

    async def follow() -> None:
        while True:
            with suppress(BrokerUnavailableError):
                await meter.follow()
            await asyncio.sleep(LOOK)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        set_clock(admin.clock)
        tasks = [asyncio.create_task(part()) for part in (follow, *admin.beside)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="queuesim admin",
        version=__version__,
        description="Administration of the task service's queue.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_tags=[{"name": "admin", "description": "For administrators: a bearer token with the role admin."}],
    )
    app.include_router(_routes(admin, meter, log))
    _describe_security(app)
    _handle_errors(app)

    async def timed(scope: Any, receive: Any, send: Any) -> None:
        set_clock(admin.clock)
        await guard(scope, receive, send)

    guard = Guard(app, admin.verifier, log, limiter=admin.limiter, largest_body=admin.largest_body)
    timed.app = app  # type: ignore[attr-defined]
    return timed


def _routes(admin: Administration, meter: Meter, log: AuditLog) -> APIRouter:
    routes = APIRouter(responses=ERRORS)
    prefix = "/tasks/admin"
    tags: list[str | Enum] = ["admin"]
    queue, letters = admin.queue, admin.letters

    @routes.get("/health", tags=["health"])
    async def health() -> dict[str, str]:
        """Whether the queue can be reached."""
        await queue.counts()
        return {"status": "ok"}

    @routes.get("/metrics", tags=["health"], response_class=Response)
    async def prometheus() -> Response:
        """The queue's metrics in the text format of Prometheus."""
        from queuesim.admin.exposition import exposition

        text, content_type = exposition(await meter.read())
        return Response(text, media_type=content_type)

    @routes.post(f"{prefix}/trigger-overdue-check", tags=tags)
    async def trigger_overdue_check() -> list[bodies.ScanOut]:
        """Scan for overdue tasks now."""
        return [_scan(report) for report in await admin.scan.run("manual")]

    @routes.get(f"{prefix}/queue-metrics", tags=tags)
    async def queue_metrics() -> bodies.MetricsOut:
        """What became of jobs since the last reset, and where they are now."""
        return bodies.MetricsOut(**asdict(await meter.read()))

    @routes.post(f"{prefix}/reset-queue-metrics", tags=tags)
    async def reset_queue_metrics() -> bodies.Done:
        """Count from zero again."""
        await meter.follow()
        meter.reset()
        return bodies.Done(done="reset")

    @routes.post(f"{prefix}/pause", tags=tags)
    async def pause() -> bodies.Done:
        """No job starts any more."""
        await queue.pause()
        return bodies.Done(done="paused")

    @routes.post(f"{prefix}/resume", tags=tags)
    async def resume() -> bodies.Done:
        """Jobs start again."""
        await queue.resume()
        return bodies.Done(done="resumed")

    @routes.get(f"{prefix}/dead-letters", tags=tags)
    async def dead_letters(
        start: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[bodies.LetterOut]:
        """Jobs that failed for good, the oldest first."""
        found = await letters.list(start, start + limit - 1)
        return [
            bodies.LetterOut(**{key: _of(letter, key) for key in bodies.LetterOut.model_fields}) for letter in found
        ]

    @routes.post(f"{prefix}/dead-letters/redrive", tags=tags)
    async def redrive(body: bodies.Letters) -> bodies.Done:
        """Run jobs again that failed for good."""
        return bodies.Done(done="redriven", count=len(await letters.redrive(body.ids)))

    @routes.post(f"{prefix}/dead-letters/discard", tags=tags)
    async def discard(body: bodies.Letters) -> bodies.Done:
        """Throw dead letters away."""
        return bodies.Done(done="discarded", count=await letters.discard(body.ids))

    @routes.get(f"{prefix}/jobs/{{job_id}}", tags=tags)
    async def job(job_id: JobId) -> bodies.JobOut:
        """A job, and where it is."""
        found, state = await queue.get_job(job_id), await queue.get_state(job_id)
        if found is None or state is None:
            raise JobError(job_id, -1, "find")
        values = {key: _of(found, key) for key in bodies.JobOut.model_fields if key != "state"}
        return bodies.JobOut(state=state.value, **values)

    @routes.post(f"{prefix}/jobs/{{job_id}}/retry", tags=tags)
    async def retry(job_id: JobId, body: bodies.Retry) -> bodies.Done:
        """Run a failed job again."""
        await queue.retry(job_id, JobState.FAILED, reset_attempts=body.reset_attempts)
        return bodies.Done(done="retried")

    @routes.post(f"{prefix}/bulk-status", tags=tags)
    async def bulk_status(body: bodies.BulkStatus) -> bodies.Done:
        """Have jobs give many tasks a status."""
        return bodies.Done(done="queued", count=await admin.service.change_status_bulk(body.task_ids, body.status))

    @routes.get(f"{prefix}/audit-log", tags=tags)
    async def audit_log(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[bodies.AuditOut]:
        """What administrators did, and what was refused: the newest first."""
        return [bodies.AuditOut(**asdict(row)) for row in await log.newest(limit)]

    return routes


def _of(thing: Any, key: str) -> Any:
    value = getattr(thing, key)
    return list(value) if isinstance(value, tuple) else value


def _letter(letter: Letter) -> bodies.LetterOut:
    return bodies.LetterOut(**{key: _of(letter, key) for key in bodies.LetterOut.model_fields})


def _scan(report: Any) -> bodies.ScanOut:
    return bodies.ScanOut(**{key: getattr(report, key) for key in bodies.ScanOut.model_fields})


def _describe_security(app: FastAPI) -> None:
    """In the OpenAPI document, all but the public routes need a token."""
    make = app.openapi

    def described() -> dict[str, Any]:
        document = make()
        schemes = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        document.setdefault("components", {})["securitySchemes"] = schemes
        document["security"] = [{"token": []}]
        document["paths"]["/health"]["get"]["security"] = []
        return document

    app.openapi = described  # type: ignore[method-assign]


STATUSES = {-1: 404, -3: 409, -6: 409, -8: 409}
"""What a refusal of the queue is in HTTP, by its code."""


def _handle_errors(app: FastAPI) -> None:
    def answer(request: Request, status: int, code: str, message: str) -> Response:
        correlation = request.state.correlation_id
        return Response(error_body(code, message, correlation), status, media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def does_not_fit(request: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            return answer(request, 400, "no_json", "the body is no JSON")
        told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:5])
        return answer(request, 422, "invalid", told[:500])

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        response = answer(request, error.status_code, "http", str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(JobError)
    async def job(request: Request, error: JobError) -> Response:
        status = STATUSES.get(error.code, 409)
        return answer(request, status, "no_such_job" if status == 404 else "conflict", str(error))

    @app.exception_handler(TaskMissingError)
    async def task(request: Request, error: TaskMissingError) -> Response:
        return answer(request, 404, "no_such_task", str(error))

    @app.exception_handler(ValidationError)
    async def invalid(request: Request, error: ValidationError) -> Response:
        return answer(request, 422, "invalid", str(error))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # it is raised again for the guard, which logs it
        return answer(request, 500, "internal", INTERNAL)

    @app.exception_handler(BrokerUnavailableError)
    async def unavailable(request: Request, error: BrokerUnavailableError) -> Response:
        return answer(request, 503, "queue_unavailable", "the queue can't be reached")
