"""Where faults get into handlers: before, after and around every attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from queuesim.job import Job
from queuesim.processor import JobType, Processor, call


class HandlerHook:
    """What a fault does to attempts."""

    job: str | None = None
    """The type of jobs that it concerns; None: all."""
    spared: frozenset[str] = frozenset()
    """Types of jobs that it does not concern."""
    by_attempt: bool = True
    """Whether it concerns attempts at all."""
    active: bool = False
    """Whether it is on."""

    async def before(self, job: Job) -> None:
        """The handler is about to run. What this raises is what the attempt fails with."""

    async def after(self, job: Job) -> None:
        """The handler has returned. What this raises is what the attempt fails with."""

    def finally_(self, job: Job) -> None:
        """The attempt is over, however it ended, unless its worker is dead."""


def disturb(processor: Processor, hooks: Sequence[HandlerHook]) -> None:
    """Let faults get at the handlers of a processor."""
    for job_type in list(processor.types.values()):
        mine = [hook for hook in hooks if hook.by_attempt and hook.job in (None, job_type.name)]
        mine = [hook for hook in mine if job_type.name not in hook.spared]
        if mine:
            processor.add(replace(job_type, handler=_disturbed(job_type, mine), is_async=True))


def _disturbed(job_type: JobType, hooks: Sequence[HandlerHook]) -> Any:
    handler = job_type.handler

    async def handle(job: Job) -> Any:
        struck = [hook for hook in hooks if hook.active]
        try:
            for hook in struck:
                await hook.before(job)
            value = await call(handler, job)
            for hook in struck:
                await hook.after(job)
            return value
        finally:
            for hook in struck:
                hook.finally_(job)

    return handle
