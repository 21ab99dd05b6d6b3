"""What the admin API administers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from queuesim.admin.guard import LARGEST_BODY, RequestLimiter
from queuesim.admin.tokens import Verifier
from queuesim.core.clock import Clock
from queuesim.core.deadletters import DeadLetters
from queuesim.core.queue import Queue
from queuesim.tasks.overdue import OverdueScan
from queuesim.tasks.store import TaskStore
from queuesim.tasks.task_service import TaskService


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
