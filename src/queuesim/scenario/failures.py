"""Failures that a scenario asks for: errors by category and attempt, poison jobs, and time that blocks the worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import accumulate

from queuesim.clock import sleep
from queuesim.errors import DatabaseError, NetworkError, QueuesimError, UnknownError, ValidationError
from queuesim.job import Job
from queuesim.scenario.job_schema import JobSettings
from queuesim.simulation.process import CURRENT
from queuesim.simulation.streams import Streams

SIMULATED = {
    "database": DatabaseError,
    "network": NetworkError,
    "validation": ValidationError,
    "unknown": UnknownError,
}
"""What a handler raises, by category as scenario files write it."""


def simulated(category: str) -> QueuesimError:
    """The error that stands for a category, as scenario files write it."""
    return SIMULATED[category](f"simulated {category} failure")


def failures(name: str, settings: JobSettings, streams: Streams) -> Callable[[Job], str] | None:
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
        return poison.category if mixed(salt + job.number) < bound else ""

    return poisoned


def mixed(number: int) -> int:
    """A 64-bit number that looks random: the output function of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ number >> 31


def blocking(name: str, settings: JobSettings, streams: Streams) -> Callable[[], Awaitable[None]] | None:
    """A function that holds the worker's event loop for as long as a handler computes; None if none does."""
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
