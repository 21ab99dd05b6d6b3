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
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from queuesim.admin.audit import BEGUN, DONE, FAILED, REFUSED, AuditLog
from queuesim.admin.limits import RequestLimiter
from queuesim.admin.tokens import ADMIN, METRICS, Principal, TokenError, Verifier, bearer

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
