"""Whether all is well: for everybody, and for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from queuesim.admin.metering import Meter
from queuesim.queue import Queue


def routes(queue: Queue, meter: Meter) -> APIRouter:
    """Health and metrics."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Whether the queue can be reached."""
        await queue.counts()
        return {"status": "ok"}

    @router.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """The queue's metrics in the text format of Prometheus."""
        from queuesim.admin.exposition import exposition

        text, content_type = exposition(await meter.read())
        return Response(text, media_type=content_type)

    return router
