"""Machine repair: a fixed number of producers, each of which waits for its job before it makes the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from queuesim.theory.markovian import MOST_STATES, birth_death, waiting_tail
from queuesim.theory.model import quantile, require_count, require_not_negative, require_positive, require_servers
from queuesim.theory.poisson import Array


@dataclass(frozen=True)
class MachineRepair:
    """M/M/c//N: N producers; each thinks, adds a job, waits until it is done, and begins again. Exponential service.

    It is called machine repair because the producers were machines that run until they break, and the servers those who
    repair them. The time to think may have any distribution: only its mean matters (Baskett, Chandy, Muntz & Palacios
    1975, a station of their type 3). With no time to think, or with no more producers than servers, the distribution of
    the service does not matter to throughput and means either.

    Source: Gross, Shortle, Thompson & Harris, section 2.8; Denning & Buzen 1978 for Little's law over a cycle.

    Raises:
        ValueError: a parameter out of its range, or more producers than MOST_STATES.
    """

    producers: int
    mean_think: float
    """Mean seconds from the end of a job to the next one of the same producer, 0 or more."""
    mean_service: float
    """Mean seconds of one service."""
    servers: int

    def __post_init__(self) -> None:
        require_count("producers", self.producers)
        require_not_negative("mean_think", self.mean_think)
        require_positive("mean_service", self.mean_service)
        require_servers(self.servers)
        if self.producers > MOST_STATES:
            raise ValueError(f"producers must be {MOST_STATES:,} or fewer, not {self.producers:,}")

    @cached_property
    def probabilities(self) -> Array:
        """P(n jobs in queue and service), n from 0 to N.

        From n to n + 1 the factor is (N - n) mean_service / (mean_think min(n + 1, c)).
        """
        if not self.mean_think:
            return np.concatenate((np.zeros(self.producers), [1.0]))
        number = np.arange(self.producers)
        busy = np.minimum(number + 1, self.servers)
        factor = math.log(self.mean_service) - math.log(self.mean_think)
        return birth_death(np.log(self.producers - number) - np.log(busy) + factor)

    @property
    def _mean_busy(self) -> float:
        return float(self.probabilities @ np.minimum(np.arange(self.producers + 1), self.servers))

    @property
    def offered_load(self) -> float:
        """Mean number of servers that would be busy if no job ever waited, in erlangs."""
        return self.producers * self.mean_service / (self.mean_think + self.mean_service)

    @property
    def throughput(self) -> float:
        """Jobs per second, of all producers together."""
        return self._mean_busy / self.mean_service

    @property
    def utilisation(self) -> float:
        """Fraction of time for which a server is busy."""
        return self._mean_busy / self.servers

    @property
    def mean_queue_length(self) -> float:
        """Lq: mean number of jobs in the queue."""
        return float(self.probabilities @ np.maximum(np.arange(self.producers + 1) - self.servers, 0))

    @property
    def mean_jobs_in_system(self) -> float:
        """L: mean number of jobs in queue and service."""
        return float(self.probabilities @ np.arange(self.producers + 1))

    @property
    def mean_waiting_time(self) -> float:
        """Wq: mean seconds that a job spends in the queue. Source: Little 1961."""
        return self.mean_queue_length / self.throughput

    @property
    def mean_time_in_system(self) -> float:
        """W: mean seconds from arrival to departure."""
        return self.mean_waiting_time + self.mean_service

    @property
    def most_throughput(self) -> float:
        """Jobs per second at most, with any distributions. Source: Denning & Buzen 1978, asymptotic bounds."""
        return min(self.servers / self.mean_service, self.producers / (self.mean_think + self.mean_service))

    @cached_property
    def _found(self) -> Array:
        """P(n jobs there) as a job finds it when it comes: as if its producer did not exist.

        Source: the arrival theorem, Sevcik & Mitrani 1981 and Lavenberg & Reiser 1980.
        """
        if self.producers == 1:
            return np.ones(1)
        return MachineRepair(self.producers - 1, self.mean_think, self.mean_service, self.servers).probabilities

    @property
    def probability_of_waiting(self) -> float:
        """Probability that a new job finds every server busy."""
        return float(self._found[self.servers :].sum())

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds)."""
        return 1 - waiting_tail(self._found[self.servers :], self.servers / self.mean_service, seconds)

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        return quantile(self.waiting_cdf, probability, self.mean_service)
