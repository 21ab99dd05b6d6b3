"""Handlers that a scenario describes: they take the time and raise the errors that it asks for."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from queuesim.clock import sleep
from queuesim.job import Job, JobOptions
from queuesim.processor import Handler, JobType, Processor, call
from queuesim.scenario.failures import blocking, failures, simulated
from queuesim.scenario.job_schema import JobSettings
from queuesim.scenario.replays import add_replays
from queuesim.scenario.schema import Scenario
from queuesim.simulation.streams import Streams

OVERDUE = "overdue-tasks-notification"
"""The type of the jobs that scans for overdue tasks make."""

OPTIONS = ("attempts", "backoff", "delay", "priority", "lifo")
"""What a scenario can say of a job's options."""

Draw = Callable[[], float]
Sleeper = Callable[[float], Awaitable[object]]
AsyncHandler = Callable[[Job], Awaitable[Any]]


def build_processor(scenario: Scenario, own: Processor | None, streams: Streams, sleep: Sleeper = sleep) -> Processor:
    """The processor that a scenario runs: the user's `own`, or one made of its job types.

    Args:
        sleep: waits so many seconds; a loop's own way is faster than one that has to find the loop first.
    """
    processor = _described(scenario) if own is None else _adapted(own, scenario)
    for name, settings in scenario.jobs.items():
        if settings.synthetic:
            processor.add(JobType(name, _synthetic(name, settings, streams, sleep), timeout=settings.timeout))
        elif name in processor.types:
            processor.add(_disturbed(processor.types[name], settings, streams))
    add_replays(processor, scenario)
    if scenario.overhead.attempt:
        for job_type in list(processor.types.values()):
            slower = _slower(job_type.handler, scenario.overhead.attempt)
            processor.add(replace(job_type, handler=slower, is_async=True))
    return processor


def _described(scenario: Scenario) -> Processor:
    """A processor by the scenario's own rules, without handlers."""
    queue = scenario.queue
    processor = Processor(
        queue.name,
        keep_completed=None if queue.keep.completed is None else queue.keep.completed.model(),
        keep_failed=None if queue.keep.failed is None else queue.keep.failed.model(),
        dead_letters=scenario.dead_letters,
        retries=queue.retry.policies(),
    )
    # a simulated failure has no story to tell
    processor.stack_traces = False
    return processor


def _adapted(own: Processor, scenario: Scenario) -> Processor:
    """The user's processor, with what the scenario says of its queue in place of what it says itself."""
    queue = scenario.queue
    processor = copy.copy(own)
    processor.types, processor.plain_handlers = {}, {}
    for job_type in own.types.values():
        processor.add(job_type)
    given = queue.model_fields_set
    if "name" in given:
        processor.queue = queue.name
    if queue.keep.completed is not None:
        processor.keep_completed = queue.keep.completed.model()
    if queue.keep.failed is not None:
        processor.keep_failed = queue.keep.failed.model()
    if "dead_letter" in given:
        processor.dead_letters = scenario.dead_letters
    policies = {**own.retries.policies, **queue.retry.policies()}
    processor.retries = replace(own.retries, policies=policies)
    return processor


def job_options(scenario: Scenario, own: Processor | None) -> dict[str, JobOptions]:
    """What jobs of each type are added with. A user's own processor says what the scenario leaves out."""
    names = dict.fromkeys(scenario.jobs)
    for entry in scenario.load:
        if entry.trace is not None:
            names |= dict.fromkeys(job.name for job in entry.trace.jobs)
        elif entry.jobs is not None:
            names |= dict.fromkeys(entry.jobs)
    if scenario.overdue is not None:
        names[OVERDUE] = None
    return {name: _options(scenario.job(name), scenario, own) for name in names}


def _options(settings: JobSettings, scenario: Scenario, own: Processor | None) -> JobOptions:
    options = settings.options(scenario.queue)
    if own is None:
        return options
    given = settings.model_fields_set | (scenario.queue.model_fields_set & {"attempts", "backoff"})
    chosen = {name: getattr(options, name) for name in OPTIONS if name in given}
    return replace(own.defaults, **chosen)


def _synthetic(name: str, settings: JobSettings, streams: Streams, sleep: Sleeper) -> AsyncHandler:
    assert settings.service is not None
    service = settings.service.model().sampler(streams.named(f"service/{name}"))
    failure = failures(name, settings, streams)
    block = blocking(name, settings, streams)

    async def handle(job: Job) -> None:
        if block is not None:
            await block()
        await sleep(service())
        if failure is not None:
            category = failure(job)
            if category:
                raise simulated(category)

    return handle


def _disturbed(job_type: JobType, settings: JobSettings, streams: Streams) -> JobType:
    """A user's job type with what the scenario adds: a part that blocks before the handler, errors after it."""
    name, handler = job_type.name, job_type.handler
    failure = failures(name, settings, streams)
    block = blocking(name, settings, streams)
    timeout = job_type.timeout if settings.timeout is None else settings.timeout
    if block is None and failure is None:
        return replace(job_type, timeout=timeout)

    async def handle(job: Job) -> Any:
        if block is not None:
            await block()
        value = await call(handler, job)
        if failure is not None and (category := failure(job)):
            raise simulated(category)
        return value

    return replace(job_type, handler=handle, is_async=True, timeout=timeout)


def _slower(handler: Handler, seconds: float) -> AsyncHandler:
    """A handler that holds its slot for longer: what the backend takes to hand jobs out and in."""

    async def handle(job: Job) -> Any:
        try:
            return await call(handler, job)
        finally:
            await sleep(seconds)

    return handle
