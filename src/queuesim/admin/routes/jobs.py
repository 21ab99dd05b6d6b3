"""Single jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from queuesim.admin.bodies import Done, JobOut, Retry
from queuesim.errors import JobError
from queuesim.job import JobState
from queuesim.queue import Queue

JobId = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
MISSING = -1
"""A refusal's code: there is no such job (BullMQ 6.7)."""


def routes(queue: Queue) -> APIRouter:
    """What administrators may see of a job, and do with it."""
    router = APIRouter(prefix="/jobs/{job_id}")

    @router.get("")
    async def job(job_id: JobId) -> JobOut:
        """A job, and where it is."""
        found, state = await queue.get_job(job_id), await queue.get_state(job_id)
        if found is None or state is None:
            raise JobError(job_id, MISSING, "find")
        return JobOut.of(found, state)

    @router.post("/retry")
    async def retry(job_id: JobId, body: Retry) -> Done:
        """Run a failed job again."""
        await queue.retry(job_id, JobState.FAILED, reset_attempts=body.reset_attempts)
        return Done(done="retried")

    return router
