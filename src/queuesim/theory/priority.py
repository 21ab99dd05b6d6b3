"""Non-preemptive priorities: M/G/1 and M/M/c with classes of jobs. A running job is never interrupted.

Class 1 is the most urgent and comes first in every sequence; within a class it is first come, first served.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from queuesim.theory.erlang import erlang_c
from queuesim.theory.model import require_positive, require_scv, require_servers, require_stable


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """The jobs of one priority. Raises ValueError for a parameter out of its range."""

    arrival_rate: float
    """Jobs of this class per second."""
    mean_service: float
    """Mean seconds of one service."""
    scv: float = 1.0
    """Squared coefficient of variation of one service; 1 is exponential."""

    def __post_init__(self) -> None:
        require_positive("arrival_rate", self.arrival_rate)
        require_positive("mean_service", self.mean_service)
        require_scv("scv", self.scv)


class PriorityModel(ABC):
    """What both models share: the means of each class, in order of urgency, and of all jobs together."""

    servers: int = 1

    @property
    @abstractmethod
    def arrival_rates(self) -> tuple[float, ...]:
        """Jobs per second of each class."""

    @property
    @abstractmethod
    def mean_services(self) -> tuple[float, ...]:
        """Mean seconds of a service of each class."""

    @property
    @abstractmethod
    def mean_delay_by_service(self) -> float:
        """W0: mean seconds until a server is free, as an arriving job finds it with an empty queue before it."""

    @property
    @abstractmethod
    def probability_of_waiting(self) -> float:
        """Probability that a new job, of whatever class, finds every server busy."""

    @property
    def utilisations(self) -> tuple[float, ...]:
        """Fraction of the servers' time that each class takes."""
        loads = zip(self.arrival_rates, self.mean_services, strict=True)
        return tuple(rate * service / self.servers for rate, service in loads)

    @property
    def utilisation(self) -> float:
        """Fraction of time for which a server is busy."""
        return sum(self.utilisations)

    @property
    def mean_waiting_times(self) -> tuple[float, ...]:
        """Wq of each class: W0 / ((1 - s(k-1)) (1 - s(k))), where s(k) is the utilisation by classes 1 to k.

        Source: Cobham 1954, Priority assignment in waiting line problems; Kleinrock vol. 2, section 3.2.
        """
        taken = list(accumulate(self.utilisations, initial=0.0))
        delay = self.mean_delay_by_service
        return tuple(delay / ((1 - before) * (1 - upto)) for before, upto in pairwise(taken))

    @property
    def mean_times_in_system(self) -> tuple[float, ...]:
        """W of each class, in seconds."""
        return tuple(wait + work for wait, work in zip(self.mean_waiting_times, self.mean_services, strict=True))

    @property
    def mean_queue_lengths(self) -> tuple[float, ...]:
        """Lq of each class. Source: Little 1961."""
        return tuple(rate * wait for rate, wait in zip(self.arrival_rates, self.mean_waiting_times, strict=True))

    @property
    def mean_numbers_in_system(self) -> tuple[float, ...]:
        """L of each class. Source: Little 1961."""
        return tuple(rate * time for rate, time in zip(self.arrival_rates, self.mean_times_in_system, strict=True))

    @property
    def mean_waiting_time(self) -> float:
        """Wq over the jobs of all classes, in seconds."""
        return sum(self.mean_queue_lengths) / sum(self.arrival_rates)

    @property
    def mean_time_in_system(self) -> float:
        """W over the jobs of all classes, in seconds."""
        return sum(self.mean_numbers_in_system) / sum(self.arrival_rates)


@dataclass(frozen=True)
class PriorityMG1(PriorityModel):
    """M/G/1 with non-preemptive priorities; each class has its own service. Source: Cobham 1954.

    Raises:
        ValueError: no classes, or a utilisation of 1 or more over all classes.
    """

    classes: Sequence[PriorityClass]
    """The most urgent first."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("classes must hold one class or more")
        require_stable(self.utilisation * self.servers, self.servers, self)

    @property
    def arrival_rates(self) -> tuple[float, ...]:
        return tuple(jobs.arrival_rate for jobs in self.classes)

    @property
    def mean_services(self) -> tuple[float, ...]:
        return tuple(jobs.mean_service for jobs in self.classes)

    @property
    def mean_delay_by_service(self) -> float:
        """Half the sum of lambda E[S**2] over the classes: what is left of the service under way.

        Source: Cobham 1954.
        """
        return sum(jobs.arrival_rate * jobs.mean_service**2 * (1 + jobs.scv) / 2 for jobs in self.classes)

    @property
    def probability_of_waiting(self) -> float:
        return self.utilisation


@dataclass(frozen=True)
class PriorityMMc(PriorityModel):
    """M/M/c with non-preemptive priorities; all classes have the same exponential service. Source: Cobham 1954.

    Raises:
        ValueError: a parameter out of its range, or a utilisation of 1 or more over all classes.
    """

    rates: Sequence[float]
    """Arrivals per second of each class, the most urgent first."""
    mean_service: float
    """Mean seconds of one service, of any class."""
    servers: int = field()

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("rates must hold one arrival rate or more")
        for number, rate in enumerate(self.rates, 1):
            require_positive(f"the arrival rate of class {number}", rate)
        require_positive("mean_service", self.mean_service)
        require_servers(self.servers)
        require_stable(self.utilisation * self.servers, self.servers, self)

    @property
    def arrival_rates(self) -> tuple[float, ...]:
        return tuple(self.rates)

    @property
    def mean_services(self) -> tuple[float, ...]:
        return (self.mean_service,) * len(self.rates)

    @property
    def mean_delay_by_service(self) -> float:
        """C / (c mu), with Erlang's C for all classes together. Source: Cobham 1954."""
        return self.probability_of_waiting * self.mean_service / self.servers

    @property
    def probability_of_waiting(self) -> float:
        """Erlang C: the order of service does not change how many servers are busy."""
        return erlang_c(sum(self.rates) * self.mean_service, self.servers)
