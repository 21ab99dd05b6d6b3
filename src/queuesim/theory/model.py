"""What all models share: a station in steady state with one class of jobs, and the checks of its parameters.

Symbols of the literature: lambda is `arrival_rate`, 1/mu is `mean_service`, rho is `utilisation`, Wq is
`mean_waiting_time`, W is `mean_time_in_system`, Lq is `mean_queue_length`, L is `mean_jobs_in_system`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from queuesim.error import QueuesimError


class UnstableError(QueuesimError, ValueError):
    """A system without a steady state: as much work arrives as the servers can do, or more."""

    def __init__(self, offered_load: float, capacity: float, model: str) -> None:
        self.offered_load = offered_load
        """Work that arrives, in erlangs: mean number of servers that it needs."""
        self.capacity = capacity
        """Work that can be done, in erlangs: the number of servers."""
        erlangs = "erlang" if offered_load == 1 else "erlangs"
        super().__init__(
            f"no steady state: the offered load ({offered_load:g} {erlangs}) must be below the capacity "
            f"({capacity:g}) in {model}"
        )


def require_positive(name: str, value: float) -> None:
    """Raise ValueError unless `value` is above 0 and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be above 0 and finite, not {value}")


def require_not_negative(name: str, value: float) -> None:
    """Raise ValueError unless `value` is 0 or more and finite."""
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be 0 or more and finite, not {value}")


def require_probability(name: str, value: float) -> None:
    """Raise ValueError unless `value` is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {value}")


def require_count(name: str, value: float, least: int = 1) -> None:
    """Raise ValueError unless `value` is a whole number, `least` or more."""
    if not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value}")


def require_servers(servers: int) -> None:
    """Raise ValueError unless there is a whole number of servers, 1 or more."""
    require_count("servers", servers)


def require_scv(name: str, value: float) -> None:
    """Raise ValueError unless `value` can be a squared coefficient of variation."""
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name}, a squared coefficient of variation, must be 0 or more and finite, not {value}")


def require_stable(offered_load: float, capacity: float, model: object) -> None:
    """Raise UnstableError, with the model's parameters, unless it has a steady state."""
    # the quotient is what the formulas divide by: it may be 1 where the numbers differ in their last digit
    if not (offered_load < capacity and offered_load / capacity < 1):
        raise UnstableError(offered_load, capacity, repr(model))


class Moments(Protocol):
    """A service time that knows its mean and variance, in seconds and seconds squared."""

    @property
    def mean(self) -> float: ...
    @property
    def variance(self) -> float: ...


@dataclass(frozen=True)
class Model(ABC):
    """A station with an unlimited queue: Poisson arrivals, first come, first served, one server unless said otherwise.

    Raises:
        ValueError: a parameter out of its range.
        UnstableError: as much work arrives as the servers can do, or more.
    """

    arrival_rate: float
    """New jobs per second."""
    mean_service: float
    """Mean seconds of one service."""

    def __post_init__(self) -> None:
        require_positive("arrival_rate", self.arrival_rate)
        require_positive("mean_service", self.mean_service)
        require_positive("arrival_rate x mean_service", self.offered_load)
        require_stable(self.offered_load, self.capacity, self)

    @property
    def capacity(self) -> int:
        """Number of servers."""
        return 1

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
        return self.offered_load / self.capacity

    @property
    def throughput(self) -> float:
        """Jobs per second that leave: in steady state, as many as arrive."""
        return self.arrival_rate

    @property
    def probability_of_waiting(self) -> float:
        """Probability that a new job finds every server busy; of a single one rho: arrivals see time averages."""
        return self.utilisation

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


@dataclass(frozen=True)
class MultiServer(Model):
    """A station with `servers` servers, which share one queue."""

    servers: int

    def __post_init__(self) -> None:
        require_servers(self.servers)
        super().__post_init__()

    @property
    def capacity(self) -> int:
        return self.servers


def quantile(cdf: Callable[[float], float], probability: float, scale: float) -> float:
    """The least t >= 0 with ``cdf(t) >= probability``, by bisection to the last few bits.

    `scale` is a first guess of the unit of t, above 0. Raises ValueError for a probability outside [0, 1), or one that
    the distribution does not reach.
    """
    require_probability("probability", probability)
    if cdf(0.0) >= probability:
        return 0.0
    low, high = 0.0, scale
    while cdf(high) < probability:
        low, high = high, 2 * high
        if not math.isfinite(high):
            raise ValueError(f"the distribution does not reach a probability of {probability}")
    while high - low > 4e-16 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if cdf(middle) < probability:
            low = middle
        else:
            high = middle
    return high
