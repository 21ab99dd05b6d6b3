"""Replays: how the jobs of a trace run, each as its row says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from queuesim.clock import sleep
from queuesim.errors import ValidationError
from queuesim.job import Job
from queuesim.processor import JobType, Processor, call
from queuesim.scenario.failures import simulated
from queuesim.scenario.schema import Scenario
from queuesim.scenario.trace import TraceJob

TRACE_ROW = "trace_row"
"""Key in the data of a replayed job: its row in the trace, from 0. Beside it are its `load` and its own `data`."""


def is_told(job: TraceJob) -> bool:
    """Whether the trace says how the job runs, so that its handler must know its row."""
    return job.service is not None or bool(job.failures)


def add_replays(processor: Processor, scenario: Scenario) -> None:
    """Handlers for the jobs of traces: each takes the time, and fails the way, that its row says."""
    traces = {entry.name: entry.trace.jobs for entry in scenario.load if entry.trace is not None}
    for name in dict.fromkeys(job.name for jobs in traces.values() for job in jobs if is_told(job)):
        otherwise = processor.types.get(name)
        timeout = None if otherwise is None else otherwise.timeout
        processor.add(JobType(name, _replaying(traces, otherwise), timeout=timeout))


def _replaying(traces: dict[str, list[TraceJob]], otherwise: JobType | None) -> Callable[[Job], Awaitable[Any]]:
    async def handle(job: Job) -> Any:
        row = job.data.get(TRACE_ROW) if isinstance(job.data, dict) else None
        recorded = None if row is None else traces[job.data["load"]][row]
        if recorded is not None:
            job.data = job.data["data"]
        value = None
        if recorded is not None and recorded.service is not None:
            await sleep(recorded.service)
        elif otherwise is None:
            raise ValidationError(f"the trace has no service time for this job, and the scenario no job {job.name!r}")
        else:
            if otherwise.parse is not None:
                job.data = otherwise.parse(job.data)
            value = await call(otherwise.handler, job)
        if recorded is not None and job.attempts_made < len(recorded.failures):
            category = recorded.failures[job.attempts_made]
            if category:
                raise simulated(category)
        return value

    return handle
