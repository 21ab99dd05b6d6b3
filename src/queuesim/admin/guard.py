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
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuesim.admin.audit import BEGUN, DONE, FAILED, REFUSED, AuditLog
from queuesim.admin.tokens import ADMIN, METRICS, Principal, TokenError, Verifier, bearer
from queuesim.core.deadletters import RedriveStatus
from queuesim.core.job import Job, JobState
from queuesim.tasks.model import Status, TaskId

# -- What the API takes and gives

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


# -- Limits on requests: how many a client may make, and how large they may be

MOST_CLIENTS = 10_000
"""So many clients are remembered; the one that was silent for longest is forgotten first."""


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


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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

logger = logging.getLogger("queuesim.admin")


@dataclass
class RefusedError(Exception):
    """A request that goes no further."""

    status: int
    code: str
    message: str
    retry_after: float | None = None


class Guard:
    """ASGI middleware around the whole application.

    Args:
        limiter: requests per client address, whoever they say they are.
        largest_body: bytes of a request's body.
    """

    def __init__(
        self,
        app: Any,
        verifier: Verifier,
        log: AuditLog,
        *,
        limiter: RequestLimiter | None = None,
        largest_body: int = LARGEST_BODY,
    ) -> None:
        self.app = app
        self.verifier = verifier
        self.log = log
        self.limiter = limiter
        self.largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-correlation-id", "")
        correlation = given if CORRELATION.fullmatch(given) else uuid.uuid4().hex
        answer = Answer(send, correlation)
        try:
            await self._pass(scope, receive, answer, headers, correlation)
        except RefusedError as refusal:
            await answer.refuse(refusal)
        except Exception as error:
            logger.error("request %s failed: %s", correlation, type(error).__name__, exc_info=error)
            await answer.refuse(RefusedError(500, "internal", INTERNAL))

    async def _pass(
        self, scope: Scope, receive: Receive, answer: Answer, headers: dict[str, str], correlation: str
    ) -> None:
        method, path = scope["method"], scope["path"]
        if self.limiter is not None:
            client = (scope.get("client") or ("unknown",))[0]
            wait = self.limiter.wait(client, time.monotonic())
            if wait:
                raise RefusedError(429, "too_many_requests", "too many requests: wait", wait)
        body = await self._read(receive, headers)
        scope["state"] = {**scope.get("state", {}), "correlation_id": correlation}
        if path in PUBLIC and method in READING:
            await self.app(scope, _replay(body, receive), answer.send)
            return
        principal = await self._admit(method, path, headers, correlation)
        scope["state"]["principal"] = principal
        if method in READING:
            await self.app(scope, _replay(body, receive), answer.send)
            return
        number = await self._begin(principal, method, path, correlation)
        try:
            await self.app(scope, _replay(body, receive), answer.send)
        except Exception as error:
            await self.log.close(number, FAILED, f"500 {type(error).__name__}")
            raise
        await self.log.close(number, DONE if answer.status < 400 else FAILED, str(answer.status))

    async def _read(self, receive: Receive, headers: dict[str, str]) -> bytes:
        """The whole body, before anybody parses it."""
        told = headers.get("content-length", "0")
        too_large = RefusedError(413, "too_large", f"a body has {self.largest_body} bytes at most")
        if not told.isdigit() or int(told[:20]) > self.largest_body:
            raise too_large
        body = b""
        while True:
            message = await receive()
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > self.largest_body:
                raise too_large
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return body

    async def _admit(self, method: str, path: str, headers: dict[str, str], correlation: str) -> Principal:
        try:
            principal = await self.verifier.verify(bearer(headers.get("authorization")))
        except TokenError as error:
            logger.warning("request %s refused: %s", correlation, error)
            await self._note_refusal("nobody", method, path, correlation, f"401 {error}")
            raise RefusedError(401, "unauthorized", "a valid token is needed") from None
        allowed = {ADMIN, METRICS} if (path, method) == ("/metrics", "GET") else {ADMIN}
        if not principal.roles & allowed:
            await self._note_refusal(principal.subject, method, path, correlation, "403")
            raise RefusedError(403, "forbidden", f"the role {ADMIN} is needed")
        return principal

    async def _begin(self, principal: Principal, method: str, path: str, correlation: str) -> int:
        """Write the action down. If that can't be done, it isn't done either."""
        try:
            return await self.log.write(principal.subject, method, path, BEGUN, correlation)
        except Exception as error:  # noqa: BLE001
            logger.error("request %s: no audit log: %s", correlation, type(error).__name__)
            raise RefusedError(503, "no_audit_log", "the audit log can't be written, so nothing was done") from None

    async def _note_refusal(self, actor: str, method: str, path: str, correlation: str, detail: str) -> None:
        try:
            await self.log.write(actor, method, path, REFUSED, correlation, detail)
        except Exception as error:  # noqa: BLE001 - it is refused either way
            logger.error("request %s: a refusal was not logged: %s", correlation, type(error).__name__)


class Answer:
    """The answer on its way out: with the correlation id, and nothing that a browser could misread."""

    def __init__(self, send: Send, correlation: str) -> None:
        self.status = 0
        self.begun = False
        self._send = send
        self._extra = [
            (b"x-correlation-id", correlation.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        self._correlation = correlation

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a message of the application on."""
        if message["type"] == "http.response.start":
            self.status, self.begun = message["status"], True
            message["headers"] = [*message.get("headers", []), *self._extra]
        await self._send(message)

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with an error, unless an answer is under way."""
        if self.begun:
            return
        body = error_body(refusal.code, refusal.message, self._correlation)
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


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, for the application to read again, and then what still comes."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> MutableMapping[str, Any]:
        return next(messages, None) or await receive()

    return replay
