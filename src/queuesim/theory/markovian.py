"""Exponential service: M/M/1, M/M/c, and M/M/c/K, which turns jobs away when it is full."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from queuesim.theory.erlang import erlang_c
from queuesim.theory.model import (
    MultiServer,
    quantile,
    require_count,
    require_positive,
    require_probability,
    require_servers,
)
from queuesim.theory.poisson import Array, longest, poisson


@dataclass(frozen=True)
class MMc(MultiServer):
    """M/M/c: exponential service, `servers` servers. Source: Gross, Shortle, Thompson & Harris, section 2.3."""

    @property
    def probability_of_waiting(self) -> float:
        """Erlang C. Source: Erlang 1917."""
        return erlang_c(self.offered_load, self.servers)

    @property
    def _rate(self) -> float:
        """c mu - lambda: the waiting time of those who wait is exponential with this rate."""
        return self.servers * (1 - self.utilisation) / self.mean_service

    @property
    def mean_waiting_time(self) -> float:
        """C / (c mu - lambda), with Erlang's C. Source: Erlang 1917; Gross et al., section 2.3."""
        return self.probability_of_waiting / self._rate

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds) = 1 - C exp(-(c mu - lambda) t). Source: Erlang 1917; Gross et al., section 2.3."""
        return 1 - self.probability_of_waiting * math.exp(-self._rate * seconds) if seconds >= 0 else 0.0

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        return max(0.0, math.log(self.probability_of_waiting / (1 - probability)) / self._rate)

    def time_in_system_cdf(self, seconds: float) -> float:
        """P(time in system <= seconds): the waiting time's distribution convolved with exponential service.

        Source: Gross et al., section 2.3. With r = c mu - lambda, P(time in system > t) is e^(-mu t) plus, for the jobs
        that wait, C mu (e^(-mu t) - e^(-r t)) / (r - mu), which tends to C mu t e^(-mu t) where r is mu.
        """
        if seconds < 0:
            return 0.0
        mu, rate = 1 / self.mean_service, self._rate
        gap = abs(rate - mu) * seconds
        # (1 - e^-x) / x, whose limit at 0 is 1; the slower of the two exponentials goes outside, or this overflows
        mean_decay = -math.expm1(-gap) / gap if gap > 1e-12 else 1.0
        waited = self.probability_of_waiting * mu * seconds * math.exp(-min(rate, mu) * seconds) * mean_decay
        return 1 - math.exp(-mu * seconds) - waited

    def time_in_system_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs is done. Raises ValueError outside [0, 1)."""
        return quantile(self.time_in_system_cdf, probability, self.mean_time_in_system)


@dataclass(frozen=True)
class MM1(MMc):
    """M/M/1: exponential service, one server. Source: Kleinrock, Queueing Systems vol. 1, section 3.2."""

    servers: int = field(default=1, init=False, repr=False)

    @property
    def probability_of_waiting(self) -> float:
        """rho: arrivals see time averages."""
        return self.utilisation

    def time_in_system_cdf(self, seconds: float) -> float:
        """P(time in system <= seconds): exponential with rate mu - lambda. Source: Kleinrock vol. 1, section 5.12."""
        return -math.expm1(-self._rate * seconds) if seconds >= 0 else 0.0

    def time_in_system_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs is done. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        return -math.log1p(-probability) / self._rate


MOST_STATES = 10_000_000
"""States of a system with a limited number of jobs at most: each takes 8 bytes, several times."""


def birth_death(log_factors: Array) -> Array:
    """P(n jobs in the system), n from 0 on, of a birth-death process.

    They are computed as logarithms, so that nothing overflows.

    Args:
        log_factors: for each n, the logarithm of P(n + 1) / P(n).
    """
    logs = np.concatenate(([0.0], np.cumsum(log_factors)))
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class MMcK:
    """M/M/c/K: exponential service, `servers` servers, and room for `places` jobs in queue and service together.

    A job that finds it full is turned away, and does not come back. So it has a steady state at any load. Waiting time
    and time in system are those of the jobs that get in. `places` equal to `servers` is Erlang's loss system M/M/c/c.

    Source: Gross, Shortle, Thompson & Harris, Fundamentals of Queueing Theory, section 2.5.

    Raises:
        ValueError: a parameter out of its range, fewer places than servers, or more than MOST_STATES places.
    """

    arrival_rate: float
    """New jobs per second, those that are turned away included."""
    mean_service: float
    """Mean seconds of one service."""
    servers: int
    places: int
    """K: jobs in the system at most."""

    def __post_init__(self) -> None:
        require_positive("arrival_rate", self.arrival_rate)
        require_positive("mean_service", self.mean_service)
        require_positive("arrival_rate x mean_service", self.offered_load)
        require_servers(self.servers)
        require_count("places", self.places, self.servers)
        if self.places > MOST_STATES:
            raise ValueError(f"places must be {MOST_STATES:,} or fewer, not {self.places:,}")

    @property
    def offered_load(self) -> float:
        """Mean number of servers that all jobs would keep busy if none were turned away, in erlangs."""
        return self.arrival_rate * self.mean_service

    @cached_property
    def probabilities(self) -> Array:
        """P(n jobs in the system), n from 0 to K: a**n / n! up to c jobs, then a factor of a / c more for each."""
        busy = np.minimum(np.arange(1, self.places + 1), self.servers)
        return birth_death(math.log(self.offered_load) - np.log(busy))

    @property
    def blocking_probability(self) -> float:
        """P(a job is turned away) = P(K jobs in the system): arrivals see time averages."""
        return float(self.probabilities[-1])

    @property
    def throughput(self) -> float:
        """Jobs per second that get in, and leave again."""
        return self.arrival_rate * (1 - self.blocking_probability)

    @property
    def utilisation(self) -> float:
        """Fraction of time for which a server is busy."""
        return self.throughput * self.mean_service / self.servers

    @property
    def probability_of_waiting(self) -> float:
        """Probability that a job that gets in finds every server busy."""
        return float(self._found[self.servers :].sum())

    @property
    def mean_queue_length(self) -> float:
        """Lq: mean number of jobs in the queue."""
        return float(self.probabilities[self.servers :] @ np.arange(self.places - self.servers + 1))

    @property
    def mean_jobs_in_system(self) -> float:
        """L: mean number of jobs in queue and service."""
        return self.mean_queue_length + self.throughput * self.mean_service

    @property
    def mean_waiting_time(self) -> float:
        """Wq: mean seconds in the queue of the jobs that get in. Source: Little 1961, by the rate that gets in."""
        return self.mean_queue_length / self.throughput

    @property
    def mean_time_in_system(self) -> float:
        """W: mean seconds from arrival to departure of the jobs that get in."""
        return self.mean_waiting_time + self.mean_service

    @property
    def _found(self) -> Array:
        """P(n jobs in the system) as a job that gets in finds it."""
        found = self.probabilities[:-1]
        return np.asarray(found / found.sum())

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds) of the jobs that get in."""
        return 1 - waiting_tail(self._found[self.servers :], self.servers / self.mean_service, seconds)

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of those jobs starts. Raises ValueError outside [0, 1)."""
        return quantile(self.waiting_cdf, probability, self.mean_service)


def waiting_tail(found: Array, rate: float, seconds: float) -> float:
    """P(waiting > seconds) of a job that finds all servers busy and n jobs in the queue with probability ``found[n]``.

    The servers end services at `rate` per second as long as all are busy. A job waits on as long as at most n have
    ended, whose number is Poisson. Source: Gross, Shortle, Thompson & Harris, section 2.5.
    """
    if seconds < 0:
        return 1.0
    if not len(found):
        return 0.0
    ended = rate * seconds
    more = np.cumsum(found[::-1])[::-1]
    terms = min(len(more), longest(ended))
    return min(1.0, float(poisson(ended, terms) @ more[:terms]))
