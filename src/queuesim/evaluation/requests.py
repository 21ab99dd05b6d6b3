"""Requests to the admin API inside this process, for claims in virtual time."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from queuesim.admin.administration import Administration
from queuesim.admin.app import create_app
from queuesim.admin.tokens import Verifier
from queuesim.evaluation.ground import Desk

SECRET = "the evaluation's own secret, of 32 bytes or more"
VERIFIER = Verifier("HS256", "evaluation", "queuesim-admin", secret=SECRET)


def token(roles: list[str]) -> str:
    """A token with these roles. Tokens are checked in real time, whatever the queue's clock says."""
    import jwt

    claims = {"sub": "ann", "iss": "evaluation", "aud": "queuesim-admin", "exp": time.time() + 60, "roles": roles}
    return jwt.encode(claims, SECRET, "HS256")


async def post(desk: Desk, path: str, bearer: str | None) -> int:
    """The status of the answer to a POST without a body."""
    admin = Administration(
        desk.queue, desk.letters, desk.store, desk.service, desk.scan(), VERIFIER, clock=desk.ground.clock
    )
    headers = [] if bearer is None else [(b"authorization", f"Bearer {bearer}".encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    status = 0

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await create_app(admin)(scope, receive, send)
    return status
