"""The admin API as an application, and serving it with a database, a queue and whatever runs beside it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from queuesim import __version__
from queuesim.admin.guard import INTERNAL, Administration, Guard, RequestLimiter, error_body
from queuesim.admin.tokens import Verifier
from queuesim.core.broker import Broker
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import DeadLetters
from queuesim.core.errors import BrokerUnavailableError, JobError, ValidationError
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker
from queuesim.extras import need
from queuesim.tasks.model import TaskMissingError
from queuesim.tasks.outbox import Outbox, Relay
from queuesim.tasks.overdue import OverdueScan, count_delivered
from queuesim.tasks.store import TaskStore
from queuesim.tasks.task_service import TaskService, task_processor

need("fastapi", "admin", "the admin API's routes")

from fastapi import FastAPI, Request, Response  # noqa: E402
from fastapi.exceptions import RequestValidationError  # noqa: E402
from starlette.exceptions import HTTPException  # noqa: E402

from queuesim.admin.routes import administrators, page, public  # noqa: E402

logger = logging.getLogger("queuesim.admin")
LOOK = 1.0
"""Seconds between two looks at the queue's events, and before what has failed beside the API is tried again."""
REQUESTS_A_SECOND, BURST = 20.0, 100
"""What one client may ask for."""
STATUSES = {-1: 404, -3: 409, -6: 409, -8: 409}
"""What a refusal of the queue is in HTTP, by its code."""


def create_app(admin: Administration) -> Any:
    """The ASGI application."""

    async def follow() -> None:
        while True:
            await admin.meter.follow()
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
    app.state.admin = admin
    for routes in (public, page, administrators):
        app.include_router(routes)
    _describe_security(app)
    _handle_errors(app)

    return Guard(app, admin)


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


def _handle_errors(app: FastAPI) -> None:
    """Have the application answer errors so."""

    def answer(request: Request, status: int, code: str, message: str) -> Response:
        correlation = request.state.correlation_id
        return Response(error_body(code, message, correlation), status, media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def does_not_fit(request: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            return answer(request, 400, "no_json", "the body is not valid JSON")
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


# -- Serving it


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What is served, and where."""

    database: str
    redis_url: str | None
    memory: bool
    queue: str
    work: bool
    host: str
    port: int


def serve(place: ServeOptions, verifier: Verifier, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one cuts requests off that are under way.

    Args:
        tell: is told the address, as soon as it answers there.

    Raises:
        StoreError, BrokerUnavailableError, AddressError: the database or the queue can't be used.
        OSError: the port can't.
    """
    with TaskStore(place.database).opened() as store:
        asyncio.run(_serve(place, verifier, store, tell))


async def _serve(place: ServeOptions, verifier: Verifier, store: TaskStore, tell: Callable[[str], None]) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """One that leaves signals to us: uvicorn's own raises them again when it has ended."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Catch none."""
            yield

    set_clock(time.time)
    async with _broker(place) as broker:
        application = create_app(assemble(store, broker, verifier, work=place.work))
        server = Server(uvicorn.Config(application, log_level="warning", server_header=False))

        def stop() -> None:
            server.force_exit = server.should_exit
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        with socket.create_server((place.host, place.port), family=family) as listener:
            host = f"[{place.host}]" if ":" in place.host else place.host
            tell(f"http://{host}:{listener.getsockname()[1]}")
            await server.serve(sockets=[listener])


@asynccontextmanager
async def _broker(place: ServeOptions) -> AsyncIterator[Broker]:
    if place.memory:
        from queuesim.brokers.memory import MemoryBroker

        yield MemoryBroker(place.queue)
        return
    from queuesim.brokers.redis.broker import RedisBroker
    from queuesim.brokers.redis.server import connect

    server = await connect(place.redis_url)
    try:
        yield cast(Broker, RedisBroker(place.queue, server))
    finally:
        await server.close()


def assemble(
    store: TaskStore, broker: Broker, verifier: Verifier, *, work: bool, limited: bool = True
) -> Administration:
    """The task service around a store and a queue: its relay, and a worker if there is to be one."""
    processor = task_processor(store, queue=broker.queue)
    queue = Queue(broker, defaults=processor.defaults)
    relay = Relay(store, queue, settle=count_delivered)
    delivery = Outbox(relay.wake)
    beside = [relay.run]
    if work:
        beside.append(Worker(processor, broker, name="admin", clock=time.time).run)
    return Administration(
        queue=queue,
        dead_letters=DeadLetters(broker, f"{broker.queue}-dead"),
        store=store,
        service=TaskService(store, queue, delivery),
        scan=OverdueScan(store, queue, delivery, owner="administrator"),
        verifier=verifier,
        limiter=RequestLimiter(REQUESTS_A_SECOND, BURST) if limited else None,
        clock=time.time,
        beside=beside,
    )
