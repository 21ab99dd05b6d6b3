"""How errors are answered: each has a status and a code, and says nothing of the inside."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from queuesim.admin.guard import INTERNAL, error_body
from queuesim.core.errors import BrokerUnavailableError, JobError, ValidationError
from queuesim.tasks.model import TaskMissingError

STATUSES = {-1: 404, -3: 409, -6: 409, -8: 409}
"""What a refusal of the queue is in HTTP, by its code."""


def handle_errors(app: FastAPI) -> None:
    """Have the application answer errors so."""

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
