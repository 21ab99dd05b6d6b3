"""The audit log, to read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from queuesim.admin.audit import AuditLog, AuditRow


def routes(log: AuditLog) -> APIRouter:
    """What administrators may see of each other."""
    router = APIRouter()

    @router.get("/audit-log")
    async def audit_log(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[AuditRow]:
        """What administrators did, and what was refused: the newest first."""
        return await log.newest(limit)

    return router
