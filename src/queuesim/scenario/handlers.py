"""Handlers that a scenario describes: they take the time and raise the errors that it asks for."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import accumulate
from typing import Any

from queuesim.clock import sleep
from queuesim.errors import DatabaseError, NetworkError, UnknownError, ValidationError
from queuesim.job import Job, JobOptions
from queuesim.processor import JobType, Processor
from queuesim.scenario.job_schema import JobSettings
from queuesim.scenario.producers import TRACE_ROW
from queuesim.scenario.schema import Scenario
from queuesim.scenario.trace import TraceJob
from queuesim.simulation.process import CURRENT
from queuesim.simulation.streams import Streams

SIMULATED = {
    "database": DatabaseError,
    "network": NetworkError,
    "validation": ValidationError,
    "unknown": UnknownError,
}
"""What a handler raises, by category as scenario files write it."""

Draw = Callable[[], float]
AsyncHandler = Callable[[Job], Awaitable[Any]]


def build_processor(scenario: Scenario, own: Processor | None, streams: Streams) -> Processor:
    """The processor that a scenario runs: the user's `own`, or one made of its job types; without its overhead."""
    queue = scenario.queue
    if own is not None:
        processor = copy.copy(own)
        processor.types = dict(own.types)
    else:
        processor = Processor(
            queue.name,
            keep_completed=None if queue.keep.completed is None else queue.keep.completed.model(),
            keep_failed=None if queue.keep.failed is None else queue.keep.failed.model(),
            dead_letters=scenario.dead_letters,
            retries=queue.retry.policies(),
        )
        # a simulated failure has no story to tell
        processor.stack_traces = False
    for name, settings in scenario.jobs.items():
        if settings.synthetic:
            processor.types[name] = JobType(name, _synthetic(name, settings, streams), timeout=settings.timeout)
    _add_replays(processor, scenario)
    if scenario.overhead.attempt:
        for name, job_type in processor.types.items():
            processor.types[name] = replace(job_type, handler=_slower(job_type.handler, scenario.overhead.attempt))
    return processor


def job_options(scenario: Scenario, own: Processor | None) -> dict[str, JobOptions]:
    """What jobs of each type are added with. A user's own processor says what the scenario leaves out."""
    traced = {job.name for entry in scenario.load if entry.trace is not None for job in entry.trace.jobs}
    settings_by_name = {name: JobSettings() for name in sorted(traced)} | dict(scenario.jobs)
    options = {name: settings.options(scenario.queue) for name, settings in settings_by_name.items()}
    if own is not None:
        for name, settings in settings_by_name.items():
            given = settings.model_fields_set | scenario.queue.model_fields_set
            kept = {key: getattr(own.defaults, key) for key in ("attempts", "backoff") if key not in given}
            options[name] = replace(options[name], **kept)
    return options


def _synthetic(name: str, settings: JobSettings, streams: Streams) -> AsyncHandler:
    assert settings.service is not None
    service = settings.service.model().sampler(streams.named(f"service/{name}"))
    failure = _failures(name, settings, streams)
    block = _blocking(name, settings, streams)

    async def handle(job: Job) -> None:
        if block is not None:
            await block()
        await sleep(service())
        if failure is not None:
            category = failure(job)
            if category:
                raise SIMULATED[category](f"simulated {category} failure")

    return handle


def _failures(name: str, settings: JobSettings, streams: Streams) -> Callable[[Job], str] | None:
    """A function that draws what an attempt fails with, "" for success; None if none ever fails."""
    by_attempt = [
        list(zip(accumulate(rates.values()), rates, strict=True))
        for rates in (settings.errors.at(attempt) for attempt in range(1, settings.errors.attempts + 1))
    ]
    poison = _poison(name, settings, streams)
    if not any(by_attempt):
        return poison
    draw = streams.python(f"errors/{name}").random

    def failure(job: Job) -> str:
        if poison is not None and (category := poison(job)):
            return category
        drawn = draw()
        bounds = by_attempt[min(job.attempts_made, len(by_attempt) - 1)]
        return next((category for bound, category in bounds if drawn < bound), "")

    return failure


def _poison(name: str, settings: JobSettings, streams: Streams) -> Callable[[Job], str] | None:
    """Whether a job is one of those that can never succeed: decided by its number, so that each attempt agrees."""
    poison = settings.poison
    if poison is None or not poison.probability:
        return None
    salt = streams.python(f"poison/{name}").getrandbits(64)
    bound = poison.probability * 2**64

    def poisoned(job: Job) -> str:
        return poison.category if _mixed(salt + job.number) < bound else ""

    return poisoned


def _mixed(number: int) -> int:
    """A 64-bit number that looks random: the output function of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ number >> 31


def _blocking(name: str, settings: JobSettings, streams: Streams) -> Callable[[], Awaitable[None]] | None:
    if settings.blocking is None:
        return None
    seconds = settings.blocking.model().sampler(streams.named(f"blocking/{name}"))

    async def block() -> None:
        process = CURRENT.get(None)
        if process is None:
            await sleep(seconds())
        else:
            await process.block(seconds())

    return block


def _add_replays(processor: Processor, scenario: Scenario) -> None:
    """Handlers for the jobs of traces: each takes the time, and fails the way, that its row says."""
    traces = {entry.name: entry.trace.jobs for entry in scenario.load if entry.trace is not None}
    for jobs in traces.values():
        for name in {job.name for job in jobs}:
            otherwise = processor.types.get(name)
            if any(job.name == name and job.service is not None for job in jobs):
                handler = _replaying(traces, None if otherwise is None else otherwise.handler)
                processor.types[name] = JobType(name, handler)


def _replaying(traces: dict[str, list[TraceJob]], otherwise: Any) -> AsyncHandler:
    async def handle(job: Job) -> Any:
        row = job.data.get(TRACE_ROW) if isinstance(job.data, dict) else None
        recorded = None if row is None else traces[job.data["load"]][row]
        if recorded is None or recorded.service is None:
            return await otherwise(job)
        await sleep(recorded.service)
        if job.attempts_made < len(recorded.failures) and (category := recorded.failures[job.attempts_made]):
            raise SIMULATED[category](f"simulated {category} failure")

    return handle


def _slower(handler: Any, seconds: float) -> AsyncHandler:
    """A handler that holds its slot for longer: what the backend takes to hand jobs out and in."""

    async def handle(job: Job) -> Any:
        try:
            result = handler(job)
            return await result if hasattr(result, "__await__") else result
        finally:
            await sleep(seconds)

    return handle
