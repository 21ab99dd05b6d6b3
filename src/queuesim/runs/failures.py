"""How attempts of a type of job fail, and how often it runs: expected numbers, from the rules of the core."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from queuesim.core.errors import SIMULATED, ErrorInfo, simulated
from queuesim.core.job import JobOptions
from queuesim.core.processor import Processor
from queuesim.scenario.jobs import JobSettings

LONG = 2000
"""Attempts that are looked at one by one; what follows is summed in closed form."""


class Failures:
    """How attempts of a type of job fail, and what follows, by the rules of the core.

    Args:
        cut: the share of attempts that run into their timeout.
        unknown: a handler of the user's own, of which nobody knows how often it fails.
    """

    def __init__(
        self, settings: JobSettings, options: JobOptions, processor: Processor, cut: float, *, unknown: bool
    ) -> None:
        self._settings = settings
        self._options = options
        self._retries = processor.retries
        self._infos = {name: processor.errors.describe(simulated(name)) for name in SIMULATED}
        self._timed_out = processor.errors.describe(TimeoutError())
        self._cut = cut
        self._unknown = unknown
        self._poison = None if settings.poison is None or not settings.poison.probability else settings.poison

    @cached_property
    def attempts(self) -> int:
        """Runs at most, whatever they fail with."""
        return max(self._attempts(info) for info in [*self._infos.values(), self._timed_out])

    def starts(self) -> float:
        """Runs of a job on average: 1 + p1 + p1 p2 + ..., where p is how likely an attempt fails and is retried."""
        total, share = 1.0, 1.0
        for n in range(1, self.attempts):
            again = self._again(n)
            if n >= LONG:
                left = self.attempts - n
                total += share * (left if again == 1 else again * (1 - again**left) / (1 - again))
                break
            share *= again
            total += share
            if share < 1e-12:
                break
        if self._poison is None:
            return total
        sick = self._poison.probability
        return (1 - sick) * total + sick * self._attempts(self._infos[self._poison.category])

    def backoff(self, share: float = 0.0) -> float:
        """Seconds that a job waits for its retries together, at most; of all jobs but this share of them."""
        total, reached = 0.0, 1.0
        for n in range(1, self.attempts):
            reached *= self._again(n)
            sick = 0.0
            if self._poison is not None and n < self._attempts(self._infos[self._poison.category]):
                sick = self._poison.probability
            if not self._unknown and (1 - sick) * reached + sick <= share:
                break
            wait = self.wait(n)
            if n >= LONG:
                return total + wait * (self.attempts - n)
            total += wait
        return total

    def _attempts(self, info: ErrorInfo) -> int:
        return self._retries.attempts(self._options, info)

    def _chances(self, attempt: int) -> Iterator[tuple[ErrorInfo, float]]:
        """What an attempt of a job that is no poison may fail with, and how likely."""
        yield self._timed_out, self._cut
        for name, rate in self._settings.errors.at(attempt).items():
            yield self._infos[name], rate * (1 - self._cut)

    def _again(self, attempt: int) -> float:
        """How likely the attempt fails and another one follows."""
        return min(sum(rate for info, rate in self._chances(attempt) if attempt < self._attempts(info)), 1.0)

    def wait(self, attempt: int) -> float:
        """The longest wait in seconds that can follow the attempt."""
        infos = [info for info, rate in self._chances(attempt) if rate]
        if self._poison is not None:
            infos.append(self._infos[self._poison.category])
        if self._unknown:
            infos = [*self._infos.values()]
        backoffs = [self._retries.backoff(self._options, info) for info in infos if attempt < self._attempts(info)]
        return max((each.bounds(attempt)[1] for each in backoffs if each is not None), default=0.0)
