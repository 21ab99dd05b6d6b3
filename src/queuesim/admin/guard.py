"""The guard: every request passes it before anything else of the application sees it.

It gives the request a correlation id, limits its rate and size, checks its token and role, and writes the audit log.
Whatever it does not know is for administrators only, so that a route can't be forgotten.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from queuesim.admin.metrics import Meter
from queuesim.admin.tokens import ADMIN, METRICS, Principal, TokenError, Verifier, bearer
from queuesim.core.clock import Clock, now, set_clock
from queuesim.core.deadletters import DeadLetters
from queuesim.core.queue import Queue
from queuesim.tasks.overdue import OverdueScan
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import audit
from queuesim.tasks.task_service import TaskService

logger = logging.getLogger("queuesim.admin")

# -- The audit log: who did what, and what they were refused. An action is written down before it is done, or is not

BEGUN = "begun"
DONE = "done"
FAILED = "failed"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One action. One that stays `begun` was cut short: the process died."""

    id: int
    at: float
    actor: str
    action: str
    target: str
    outcome: str
    correlation_id: str
    detail: str


class AuditLog:
    """The audit log in the task database."""

    def __init__(self, store: TaskStore) -> None:
        self.store = store

    async def write(
        self, actor: str, action: str, target: str, outcome: str, correlation_id: str, detail: str = ""
    ) -> int:
        """Write a row and return its number. Raises what the database raises: then nothing may be done."""
        row = {
            "at": now(), "actor": actor[:200], "action": action[:100], "target": target[:200], "outcome": outcome,
            "correlation_id": correlation_id, "detail": detail[:2000],
        }  # fmt: skip

        def work(connection: Connection) -> int:
            number: int = connection.execute(insert(audit).values(row).returning(audit.c.id)).scalar_one()
            return number

        return await self.store.run(work)

    async def close(self, number: int, outcome: str, detail: str) -> None:
        """Say how an action ended."""
        statement = update(audit).where(audit.c.id == number).values(outcome=outcome, detail=detail[:2000])
        await self.store.run(lambda connection: connection.execute(statement))

    async def newest(self, limit: int = 100) -> list[AuditRow]:
        """The newest rows, the newest first."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        rows = await self.store.run(lambda connection: list(connection.execute(query)))
        return [AuditRow(**row._mapping) for row in rows]


# -- The rate of requests

MOST_CLIENTS = 10_000
"""Maximum number of clients that are remembered; the one that was silent for longest is forgotten first."""


class RequestLimiter:
    """A token bucket for each client.

    Args:
        rate: requests per second that it fills with.
        burst: requests at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        if not (rate > 0 and burst >= 1):
            raise ValueError(f"a limit needs a rate above 0 and a burst of 1 or more, not {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until the client may make a request; 0 if it may now, and then it is counted."""
        tokens, since = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(tokens + (now - since) * self.rate, float(self.burst))
        allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self.rate


# -- The guard

PUBLIC = frozenset(
    {
        "/health", "/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css",
    }
)  # fmt: skip
"""What needs no token."""
READING = frozenset({"GET", "HEAD"})
"""Methods that change nothing: who may use them is checked, but their use is no action."""
CORRELATION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LARGEST_BODY = 256 * 1024
INTERNAL = "something went wrong; the log knows more"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class Administration:
    """All that the API administers.

    Args:
        limiter: limits requests for each client address, whoever they say they are.
        largest_body: bytes of a request's body.
        clock: the queue's clock; None: the event loop's.
        beside: coroutine functions that run as long as the API does: a worker, a relay.
    """

    queue: Queue
    dead_letters: DeadLetters
    store: TaskStore
    service: TaskService
    scan: OverdueScan
    verifier: Verifier
    limiter: RequestLimiter | None = None
    largest_body: int = LARGEST_BODY
    clock: Clock | None = None
    beside: list[Callable[[], Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.meter, self.log = Meter(self.queue), AuditLog(self.store)


@dataclass
class RefusedError(Exception):
    """A request that goes no further."""

    status: int
    code: str
    message: str
    retry_after: float | None = None


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: Any, admin: Administration) -> None:
        self.app = app
        self.admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        set_clock(self.admin.clock)
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return
        request = GuardedRequest(scope, receive, send)
        try:
            await self._pass(request)
        except RefusedError as refusal:
            await request.refuse(refusal)
        except Exception as error:
            logger.error("request %s failed: %s", request.correlation, type(error).__name__, exc_info=error)
            await request.refuse(RefusedError(500, "internal", INTERNAL))

    async def _pass(self, request: GuardedRequest) -> None:
        if self.admin.limiter is not None:
            client = (request.scope.get("client") or ("unknown",))[0]
            wait = self.admin.limiter.wait(client, time.monotonic())
            if wait:
                raise RefusedError(429, "too_many_requests", "too many requests: wait", wait)
        await request.read(self.admin.largest_body)
        request.scope["state"] = {**request.scope.get("state", {}), "correlation_id": request.correlation}
        if request.path in PUBLIC and request.method in READING:
            await request.hand_to(self.app)
            return
        principal = await self._admit(request)
        request.scope["state"]["principal"] = principal
        if request.method in READING:
            await request.hand_to(self.app)
            return
        number = await self._begin(principal, request)
        try:
            await request.hand_to(self.app)
        except Exception as error:
            await self.admin.log.close(number, FAILED, f"500 {type(error).__name__}")
            raise
        await self.admin.log.close(number, DONE if request.status < 400 else FAILED, str(request.status))

    async def _admit(self, request: GuardedRequest) -> Principal:
        try:
            principal = await self.admin.verifier.verify(bearer(request.headers.get("authorization")))
        except TokenError as error:
            logger.warning("request %s refused: %s", request.correlation, error)
            await self._note_refusal("nobody", request, f"401 {error}")
            raise RefusedError(401, "unauthorized", "a valid token is needed") from None
        allowed = {ADMIN, METRICS} if (request.path, request.method) == ("/metrics", "GET") else {ADMIN}
        if not principal.roles & allowed:
            await self._note_refusal(principal.subject, request, "403")
            raise RefusedError(403, "forbidden", f"the role {ADMIN} is needed")
        return principal

    async def _begin(self, principal: Principal, request: GuardedRequest) -> int:
        """Write the action down. If that can't be done, it isn't done either."""
        try:
            return await self.admin.log.write(
                principal.subject, request.method, request.path, BEGUN, request.correlation
            )
        except Exception as error:  # noqa: BLE001
            logger.error("request %s: no audit log: %s", request.correlation, type(error).__name__)
            raise RefusedError(503, "no_audit_log", "the audit log can't be written, so nothing was done") from None

    async def _note_refusal(self, actor: str, request: GuardedRequest, detail: str) -> None:
        try:
            await self.admin.log.write(actor, request.method, request.path, REFUSED, request.correlation, detail)
        except Exception as error:  # noqa: BLE001 - it is refused either way
            logger.error("request %s: a refusal was not logged: %s", request.correlation, type(error).__name__)


class GuardedRequest:
    """A request, and its answer on the way out: with the correlation id, and nothing that a browser could misread."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = self.headers.get("x-correlation-id", "")
        self.correlation = given if CORRELATION.fullmatch(given) else uuid.uuid4().hex
        self.status = 0
        """That of the answer; 0 until it begins."""
        self._receive = receive
        self._send = send
        self._body: bytes | None = None

    async def read(self, largest: int) -> None:
        """Read the whole body, before anybody parses it. Raises RefusedError if it has more than `largest` bytes."""
        told = self.headers.get("content-length", "0")
        too_large = RefusedError(413, "too_large", f"a body has {largest} bytes at most")
        if not told.isdigit() or int(told[:20]) > largest:
            raise too_large
        body = b""
        while True:
            message = await self._receive()
            body += message.get("body", b"")
            if len(body) > largest:
                raise too_large
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        self._body = body

    async def hand_to(self, app: Any) -> None:
        """Have the application answer it."""
        await app(self.scope, self._replay, self.send)

    async def _replay(self) -> MutableMapping[str, Any]:
        """The body that was read, for the application to read again, and then what still comes."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a message of the answer on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-correlation-id", self.correlation.encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with an error, unless an answer is under way."""
        if self.status:
            return
        body = error_body(refusal.code, refusal.message, self.correlation)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refusal.retry_after is not None:
            headers.append((b"retry-after", str(int(refusal.retry_after) + 1).encode()))
        if refusal.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def error_body(code: str, message: str, correlation: str) -> bytes:
    """What every error looks like."""
    return json.dumps({"error": code, "message": message, "correlation_id": correlation}).encode()
