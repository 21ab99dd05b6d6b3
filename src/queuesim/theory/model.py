"""A queueing model in steady state, and the means that Little's law gives it once its mean waiting time is known.

Symbols of the literature: lambda is `arrival_rate`, 1/mu is `mean_service`, rho is `utilisation`, Wq is
`mean_waiting_time`, W is `mean_time_in_system`, Lq is `mean_queue_length`, L is `mean_jobs_in_system`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass


def require_positive(name: str, value: float) -> None:
    """Raise ValueError unless `value` is above 0 and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be above 0 and finite, not {value}")


def require_probability(name: str, value: float) -> None:
    """Raise ValueError unless `value` is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {value}")


def require_servers(servers: int) -> None:
    """Raise ValueError unless there is a whole number of servers, 1 or more."""
    if servers != int(servers) or servers < 1:
        raise ValueError(f"servers must be a whole number, 1 or more, not {servers}")


def require_stable(utilisation: float, model: object) -> None:
    """Raise ValueError, with the model's parameters, unless it has a steady state."""
    if not utilisation < 1:
        raise ValueError(f"no steady state: the utilisation must be below 1, but is {utilisation:g} in {model!r}")


@dataclass(frozen=True)
class Model(ABC):
    """A station with Poisson arrivals, an unlimited queue, and first-come-first-served unless said otherwise.

    Raises:
        ValueError: a parameter out of its range, or a utilisation of 1 or more.
    """

    arrival_rate: float
    """New jobs per second."""
    mean_service: float
    """Mean seconds of one service."""

    def __post_init__(self) -> None:
        require_positive("arrival_rate", self.arrival_rate)
        require_positive("mean_service", self.mean_service)
        require_stable(self.utilisation, self)

    @property
    def mean_work(self) -> float:
        """Mean seconds in which a job keeps a server busy, over all its services."""
        return self.mean_service

    @property
    def offered_load(self) -> float:
        """Mean number of busy servers, in erlangs."""
        return self.arrival_rate * self.mean_work

    @property
    def utilisation(self) -> float:
        """Fraction of time for which a server is busy."""
        return self.offered_load

    @property
    @abstractmethod
    def probability_of_waiting(self) -> float:
        """Probability that a new job finds every server busy."""

    @property
    @abstractmethod
    def mean_waiting_time(self) -> float:
        """Wq: mean seconds that a job spends in the queue."""

    @property
    def mean_time_in_system(self) -> float:
        """W: mean seconds from arrival to departure."""
        return self.mean_waiting_time + self.mean_work

    @property
    def mean_queue_length(self) -> float:
        """Lq: mean number of jobs in the queue. Source: Little 1961, Lq = lambda Wq."""
        return self.arrival_rate * self.mean_waiting_time

    @property
    def mean_jobs_in_system(self) -> float:
        """L: mean number of jobs in queue and service. Source: Little 1961, L = lambda W."""
        return self.arrival_rate * self.mean_time_in_system


def quantile(cdf: Callable[[float], float], probability: float, scale: float) -> float:
    """The least t >= 0 with ``cdf(t) >= probability``, by bisection to the last few bits.

    `scale` is a first guess of the unit of t, above 0. Raises ValueError for a probability outside [0, 1).
    """
    require_probability("probability", probability)
    if cdf(0.0) >= probability:
        return 0.0
    low, high = 0.0, scale
    while cdf(high) < probability:
        low, high = high, 2 * high
    while high - low > 4e-16 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if cdf(middle) < probability:
            low = middle
        else:
            high = middle
    return high
