"""The admin API as tests call it: in this process, with tokens of their own making."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt

from queuesim.admin.api import create_app
from queuesim.admin.guard import Administration
from queuesim.admin.tokens import Verifier
from queuesim.brokers.memory import MemoryBroker
from queuesim.core.clock import set_clock
from queuesim.core.deadletters import DeadLetters
from queuesim.core.job import JobState
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker
from queuesim.tasks.outbox import AfterCommit
from queuesim.tasks.overdue import OverdueScan
from queuesim.tasks.store import TaskStore
from queuesim.tasks.task_service import TaskService, task_processor

SECRET = "a secret that only the tests know, and 32 bytes or more"
ISSUER, AUDIENCE = "https://issuer.example", "queuesim-admin"
VERIFIER = Verifier("HS256", ISSUER, AUDIENCE, secret=SECRET)
ACTIONS = (
    ("POST", "/tasks/admin/trigger-overdue-check", None),
    ("GET", "/tasks/admin/queue-metrics", None),
    ("POST", "/tasks/admin/reset-queue-metrics", None),
    ("POST", "/tasks/admin/pause", None),
    ("POST", "/tasks/admin/resume", None),
    ("GET", "/tasks/admin/dead-letters", None),
    ("GET", "/tasks/admin/dead-letters/redrives", None),
    ("POST", "/tasks/admin/dead-letters/redrive", {}),
    ("POST", "/tasks/admin/dead-letters/discard", {"everything": True}),
    ("GET", "/tasks/admin/jobs/1", None),
    ("POST", "/tasks/admin/jobs/1/retry", {}),
    ("POST", "/tasks/admin/bulk-status", {"task_ids": [1], "status": "completed"}),
    ("GET", "/tasks/admin/audit-log", None),
)
"""Every admin route, with a body that it takes."""


def claims(**changes: Any) -> dict[str, Any]:
    """An administrator's; a change to None leaves a claim out."""
    usual = {"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "roles": ["admin"]}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers)


class AdminBench:
    def __init__(self, store: TaskStore, verifier: Verifier = VERIFIER, **settings: Any) -> None:
        self.store = store
        self.processor = task_processor(store, limiter=None)
        broker = MemoryBroker(self.processor.queue)
        self.queue = Queue(broker, defaults=self.processor.defaults)
        delivery = AfterCommit(self.queue)
        self.service = TaskService(store, self.queue, delivery)
        self.admin = Administration(
            self.queue, DeadLetters(broker, f"{self.queue.name}-dead"), store, self.service,
            OverdueScan(store, self.queue, delivery), verifier, clock=time.time, **settings,
        )  # fmt: skip
        self.app = create_app(self.admin)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://admin.test")

    async def call(self, method: str, path: str, who: str | None = None, **rest: Any) -> httpx.Response:
        """A request as an administrator, unless another token is given; "" sends none."""
        given = token() if who is None else who
        headers = {**({"authorization": f"Bearer {given}"} if given else {}), **rest.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **rest)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        worker = Worker(self.processor, self.queue.broker, clock=time.time)
        running = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            await worker.close()
            await running

    async def ended(self, jobs: int) -> None:
        """Wait until so many jobs have ended."""
        while True:
            counts = await self.queue.counts()
            if counts[JobState.COMPLETED] + counts[JobState.FAILED] >= jobs:
                return
            await asyncio.sleep(0.01)

    async def audit(self) -> list[tuple[str, str, str]]:
        """(actor, outcome, detail), the oldest first."""
        response = await self.call("GET", "/tasks/admin/audit-log")
        return [(row["actor"], row["outcome"], row["detail"]) for row in reversed(response.json())]


def with_bench(scene: Any, **settings: Any) -> Any:
    async def whole(store: TaskStore) -> Any:
        set_clock(time.time)
        return await scene(AdminBench(store, **settings))

    with TaskStore().opened() as store:
        return asyncio.run(whole(store))
