"""Service of any kind: M/G/1 exactly, G/G/1 and G/G/c by approximations and bounds, D/M/1 exactly.

The approximations need two moments of the time between arrivals and of the service, as squared coefficients of
variation (SCV): variance / mean**2, which is 0 for constant and 1 for exponential times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from queuesim.theory.erlang import erlang_c
from queuesim.theory.model import Model, Moments, MultiServer, require_probability, require_scv


@dataclass(frozen=True)
class MG1(Model):
    """M/G/1: any service times that are independent and alike, one server."""

    scv: float
    """Squared coefficient of variation of a service, variance / mean**2: 0 for constant, 1 for exponential."""

    def __post_init__(self) -> None:
        require_scv("scv", self.scv)
        super().__post_init__()

    @classmethod
    def of(cls, arrival_rate: float, service: Moments) -> MG1:
        """The model whose service has the mean and variance of `service`."""
        return cls(arrival_rate, service.mean, service.variance / service.mean**2)

    @property
    def mean_waiting_time(self) -> float:
        return pollaczek_khinchine(self, self.scv)


def pollaczek_khinchine(model: Model, scv: float) -> float:
    """Mean waiting time with one server: rho (1 + scv) / (2 (1 - rho)) times the mean work, of which `scv` is.

    Source: Pollaczek 1930 and Khinchine 1932; Kleinrock vol. 1, section 5.6.
    """
    return model.utilisation * (1 + scv) * model.mean_work / (2 * (1 - model.utilisation))


@dataclass(frozen=True)
class GGc(MultiServer):
    """G/G/c by two moments: independent times between arrivals and independent services, each all alike.

    Exact for M/M/c and M/G/1, an approximation for all else: see reports/validation.md for how good it is.

    Source: Allen 1990, Probability, Statistics, and Queueing Theory, 2nd edition, the formula of Allen and Cunneen.
    """

    arrival_scv: float
    """Squared coefficient of variation of the time between arrivals: 1 is Poisson, 0 evenly spaced."""
    scv: float
    """Squared coefficient of variation of a service."""

    def __post_init__(self) -> None:
        require_scv("arrival_scv", self.arrival_scv)
        require_scv("scv", self.scv)
        super().__post_init__()

    @property
    def probability_of_waiting(self) -> float:
        """Erlang C, as if arrivals and services were memoryless: an approximation."""
        return erlang_c(self.offered_load, self.servers)

    @property
    def mean_waiting_time(self) -> float:
        """That of M/M/c times (SCV of arrivals + SCV of services) / 2. Source: Allen and Cunneen."""
        memoryless = self.probability_of_waiting * self.mean_service / (self.servers * (1 - self.utilisation))
        return memoryless * (self.arrival_scv + self.scv) / 2

    @property
    def corrected_mean_waiting_time(self) -> float:
        """The same with a factor of at most 1 for arrivals that are more regular than Poisson; otherwise the same.

        Source: Krämer and Langenbach-Belz 1976, as Whitt 1983 (The Queueing Network Analyzer) uses it: the
        factor is exp(-2 (1 - rho) (1 - SCV of arrivals)**2 / (3 rho (SCV of arrivals + SCV of services))).
        """
        spread = self.arrival_scv + self.scv
        if self.arrival_scv >= 1 or not spread:
            return self.mean_waiting_time
        exponent = 2 * (1 - self.utilisation) * (1 - self.arrival_scv) ** 2 / (3 * self.utilisation * spread)
        return self.mean_waiting_time * math.exp(-exponent)

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds), with an exponential distribution for those who wait: an approximation.

        Source: Kingman 1962, On queues in heavy traffic: as the utilisation goes to 1, it becomes exact.
        """
        if seconds < 0:
            return 0.0
        mean, waits = self.mean_waiting_time, self.probability_of_waiting
        return 1 - waits * math.exp(-seconds * waits / mean) if mean else 1.0

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts, as by `waiting_cdf`. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        mean, waits = self.mean_waiting_time, self.probability_of_waiting
        if waits <= 1 - probability:
            return 0.0
        return mean / waits * math.log(waits / (1 - probability))


@dataclass(frozen=True)
class GG1(GGc):
    """G/G/1: one server. `mean_waiting_time` is Kingman's approximation, and `kingman_bound` is never exceeded.

    Source: Kingman 1961, The single server queue in heavy traffic; Kleinrock vol. 2, ch. 2.
    """

    servers: int = field(default=1, init=False, repr=False)

    @property
    def kingman_bound(self) -> float:
        """The mean waiting time in seconds at most: lambda (Var of arrivals + Var of services) / (2 (1 - rho)).

        Source: Kingman 1962, Some inequalities for the queue GI/G/1.
        """
        arrivals, services = self.arrival_scv / self.arrival_rate, self.scv * self.mean_service * self.utilisation
        return (arrivals + services) / (2 * (1 - self.utilisation))


@dataclass(frozen=True)
class DM1(Model):
    """D/M/1: evenly spaced arrivals, exponential service, one server.

    Source: Kleinrock vol. 1, section 6.4 (G/M/1): a job that arrives finds n jobs with probability
    (1 - sigma) sigma**n, where sigma below 1 solves sigma = exp(-(1 - sigma) / rho).
    """

    @property
    def sigma(self) -> float:
        """The solution, by bisection on -log(sigma) rho = 1 - sigma, which keeps small ones apart from 0."""
        low, high = -1 / self.utilisation, 0.0  # of log(sigma)
        for _ in range(2000):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            # below the solution exp is above the line, up to the other solution at sigma = 1
            if middle * self.utilisation > math.expm1(middle):
                high = middle
            else:
                low = middle
        return math.exp(low)

    @property
    def probability_of_waiting(self) -> float:
        """sigma: arrivals at regular times do not see time averages."""
        return self.sigma

    @property
    def mean_waiting_time(self) -> float:
        """mean_service sigma / (1 - sigma). Source: Kleinrock vol. 1, section 6.4."""
        return self.mean_service * self.sigma / (1 - self.sigma)

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds) = 1 - sigma exp(-(1 - sigma) t / mean_service). Source: Kleinrock, as above."""
        return 1 - self.sigma * math.exp(-(1 - self.sigma) * seconds / self.mean_service) if seconds >= 0 else 0.0

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        if self.sigma <= 1 - probability:
            return 0.0
        return self.mean_service / (1 - self.sigma) * math.log(self.sigma / (1 - probability))
