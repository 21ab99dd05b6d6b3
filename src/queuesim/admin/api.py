"""The application: its routes, behind the guard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from queuesim import __version__
from queuesim.admin.administration import Administration
from queuesim.admin.audit import AuditLog
from queuesim.admin.guard import Guard
from queuesim.admin.metrics import Meter
from queuesim.core.clock import set_clock
from queuesim.extras import need

need("fastapi", "admin", "the admin API's routes")

from fastapi import FastAPI  # noqa: E402

from queuesim.admin.problems import handle_errors  # noqa: E402
from queuesim.admin.routes import all_routes  # noqa: E402

logger = logging.getLogger("queuesim.admin")
LOOK = 1.0
"""Seconds between two looks at the queue's events, and before what has failed beside the API is tried again."""


def create_app(admin: Administration) -> Any:
    """The ASGI application."""
    meter, log = Meter(admin.queue), AuditLog(admin.store)

    async def follow() -> None:
        while True:
            await meter.follow()
            await asyncio.sleep(LOOK)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        set_clock(admin.clock)
        tasks = [asyncio.create_task(_persevere(part)) for part in (follow, *admin.beside)]
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
    app.include_router(all_routes(admin, meter, log))
    _describe_security(app)
    handle_errors(app)

    async def timed(scope: Any, receive: Any, send: Any) -> None:
        set_clock(admin.clock)
        await guard(scope, receive, send)

    guard = Guard(app, admin.verifier, log, limiter=admin.limiter, largest_body=admin.largest_body)
    timed.app = app  # type: ignore[attr-defined]
    return timed


async def _persevere(part: Callable[[], Awaitable[object]]) -> None:
    """Run what is to run as long as the API does. When it fails, say so, and begin again."""
    while True:
        try:
            await part()
        except Exception as error:  # noqa: BLE001 - whatever it is, the API and its other parts go on
            logger.error("%s failed, and begins again: %s", getattr(part, "__qualname__", part), error)
            await asyncio.sleep(LOOK)
        else:
            return


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
