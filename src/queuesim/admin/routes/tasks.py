"""The tasks: a scan for those that are overdue, and statuses for many."""

from __future__ import annotations

from fastapi import APIRouter

from queuesim.admin.bodies import BulkStatus, Done
from queuesim.tasks import OverdueScan, TaskService
from queuesim.tasks.overdue import ScanReport


def routes(scan: OverdueScan, service: TaskService) -> APIRouter:
    """What administrators may do to tasks."""
    router = APIRouter()

    @router.post("/trigger-overdue-check")
    async def trigger_overdue_check() -> list[ScanReport]:
        """Scan for overdue tasks now."""
        return await scan.run("manual")

    @router.post("/bulk-status")
    async def bulk_status(body: BulkStatus) -> Done:
        """Have jobs give many tasks a status."""
        return Done(done="queued", count=await service.change_status_bulk(body.task_ids, body.status))

    return router
