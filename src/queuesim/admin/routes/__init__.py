"""The routes, a module for each thing that they are about."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from queuesim.admin.administration import Administration
from queuesim.admin.audit import AuditLog
from queuesim.admin.bodies import ErrorOut
from queuesim.admin.metering import Meter
from queuesim.admin.routes import audit, health, jobs, letters, page, queue, tasks

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
    routes.include_router(health.routes(admin.queue, meter))
    routes.include_router(page.routes())
    for part in (
        tasks.routes(admin.scan, admin.service),
        queue.routes(admin.queue, meter),
        letters.routes(admin.letters),
        jobs.routes(admin.queue),
        audit.routes(log),
    ):
        routes.include_router(part, prefix=PREFIX, tags=["admin"])
    return routes
