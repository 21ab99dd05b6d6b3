"""A workbench for tests of the task service in virtual time: a store, a queue, a relay and workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import insert, select

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker
from queuesim.tasks.cost import DatabaseModel, DistantQueue
from queuesim.tasks.outbox import AfterCommit, Delivery, Outbox, Relay, drained
from queuesim.tasks.overdue import OverdueScan, count_delivered
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import notifications, tasks
from queuesim.tasks.task_service import TaskService, task_processor


class TaskBench:
    """The task service on a store, without a limiter unless one is asked for."""

    def __init__(
        self, store: TaskStore, *, delivery: str = "after-commit", round_trip: float = 0.0, **rules: Any
    ) -> None:
        self.store = store
        self.processor = task_processor(store, **({"limiter": None} | rules))
        self.processor.stack_traces = False
        self.broker = MemoryBroker(self.processor.queue)
        self.queue = Queue(self.broker, defaults=self.processor.defaults)
        distant = DistantQueue(self.queue, lambda: round_trip) if round_trip else self.queue
        self.relay = Relay(store, distant, settle=count_delivered)
        self.delivery: Delivery = Outbox(self.relay.wake) if delivery == "outbox" else AfterCommit(distant)
        keys = iter(range(10**9))
        self.service = TaskService(store, self.queue, self.delivery, new_key=lambda: f"key-{next(keys)}")

    def scan(self, **settings: Any) -> OverdueScan:
        return OverdueScan(self.store, self.queue, self.delivery, **settings)

    def add_tasks(self, count: int, due: float = 0.0, spread: float = 0.0) -> None:
        """Open tasks, due at `due` and every `spread` seconds after it."""
        rows = [
            {
                "title": f"task {n}", "assignee": "ann", "status": "pending", "version": 1, "created_at": 0.0,
                "updated_at": 0.0, "due_at": due + spread * n, "notify_at": due + spread * n,
            }
            for n in range(count)
        ]  # fmt: skip
        self.store.run_now(lambda connection: connection.execute(insert(tasks), rows))

    @asynccontextmanager
    async def working(self, count: int = 1, relaying: bool = True) -> AsyncIterator[None]:
        workers = [Worker(self.processor, self.broker, name=f"worker-{n}") for n in range(count)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        relays = [asyncio.create_task(self.relay.run())] if self.delivery.atomic and relaying else []
        try:
            yield
        finally:
            for worker in workers:
                await worker.close()
            for task in [*running, *relays]:
                task.cancel()
            await asyncio.wait([*running, *relays])

    async def drained(self, every: float = 1.0) -> None:
        """Wait until the outbox and the queue are empty."""
        await drained(self.queue, self.relay, every)

    def told(self, kind: str = "overdue") -> dict[int, list[float]]:
        """When assignees were told of each task."""
        rows = self.store.run_now(
            lambda c: c.execute(
                select(notifications).where(notifications.c.kind == kind).order_by(notifications.c.id)
            ).all()
        )
        told: dict[int, list[float]] = {}
        for row in rows:
            told.setdefault(row.task_id, []).append(row.sent_at)
        return told


@contextmanager
def bench(latency: float = 0.0, **settings: Any) -> Iterator[TaskBench]:
    """A bench on a database in memory, whose transactions take `latency` seconds."""
    cost = DatabaseModel(lambda: latency) if latency else None
    with TaskStore(cost=cost).opened() as store:
        yield TaskBench(store, **settings)
