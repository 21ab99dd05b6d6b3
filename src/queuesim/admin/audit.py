"""The audit log: who did what, and what they were refused. An action is written down before it is done, or is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from queuesim.core.clock import now
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import audit

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

        def work(connection: Connection) -> list[Any]:
            return list(connection.execute(query))

        return [AuditRow(**row._mapping) for row in await self.store.run(work)]
