"""Models whose service is not exponential: M/G/1 and, for constant service, M/D/1 and M/D/c."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from queuesim.theory.model import Model, quantile, require_servers


class Moments(Protocol):
    """A service time that knows its mean and variance, in seconds and seconds squared."""

    @property
    def mean(self) -> float: ...
    @property
    def variance(self) -> float: ...


def require_scv(name: str, value: float) -> None:
    """Raise ValueError unless `value` can be a squared coefficient of variation."""
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name}, a squared coefficient of variation, must be 0 or more and finite, not {value}")


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
    def probability_of_waiting(self) -> float:
        """rho: arrivals see time averages."""
        return self.utilisation

    @property
    def mean_waiting_time(self) -> float:
        """rho (1 + scv) / (2 (1 - rho)) mean services.

        Source: Pollaczek 1930 and Khinchine 1932; Kleinrock vol. 1, section 5.6.
        """
        return self.utilisation * (1 + self.scv) * self.mean_service / (2 * (1 - self.utilisation))


@dataclass(frozen=True)
class MD1(Model):
    """M/D/1: constant service, one server."""

    @property
    def probability_of_waiting(self) -> float:
        """rho: arrivals see time averages."""
        return self.utilisation

    @property
    def mean_waiting_time(self) -> float:
        """rho / (2 (1 - rho)) services. Source: Erlang 1909; Gross & Harris, ch. 5."""
        return self.utilisation * self.mean_service / (2 * (1 - self.utilisation))

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds).

        Source: Franx 2001, A simple solution for the M/D/c waiting time distribution, with c = 1: in the k-th service
        time, u = lambda (k D - t), it is sum over j < k of e^-u u^j / j! times P(at most k - j jobs in system). Unlike
        the older alternating sum (Erlang 1909, Crommelin 1932) it adds only positive terms, so it holds in the tail.
        """
        if seconds < 0:
            return 0.0
        services = math.floor(seconds / self.mean_service) + 1
        left = max(0.0, self.arrival_rate * (services * self.mean_service - seconds))
        states = _md1_state_cdf(self.utilisation, services)
        orders = np.arange(services)
        poisson = np.cumprod(np.concatenate(([math.exp(-left)], left / orders[1:])))
        return min(1.0, float(poisson @ states[services - orders]))

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        return quantile(self.waiting_cdf, probability, self.mean_service)

    def time_in_system_cdf(self, seconds: float) -> float:
        """P(time in system <= seconds): the waiting time shifted by one service."""
        return self.waiting_cdf(seconds - self.mean_service)

    def time_in_system_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs is done. Raises ValueError outside [0, 1)."""
        return self.waiting_quantile(probability) + self.mean_service


def _md1_state_cdf(utilisation: float, largest: int) -> npt.NDArray[np.float64]:
    """P(at most n jobs in an M/D/1 system) for n = 0 to `largest`.

    Source: the balance across the cut between n and n + 1 jobs, seen at departures (Kleinrock vol. 1, section 5.6):
    p(n+1) P(A = 0) = p(0) P(A > n) + sum over 1 <= i <= n of p(i) P(A > n + 1 - i), where A, the arrivals during a
    service, is Poisson. All terms are positive.
    """
    beyond = 64  # a Poisson variable of mean below 1 has no more mass past this than a double can hold
    counts = np.arange(1, largest + beyond)
    arrivals = np.cumprod(np.concatenate(([math.exp(-utilisation)], utilisation / counts)))
    more_than = np.cumsum(arrivals[::-1])[::-1][1:]
    states = np.empty(largest + 1)
    states[0] = 1 - utilisation
    for n in range(largest):
        inflow = states[0] * more_than[n] + states[1 : n + 1] @ more_than[n:0:-1]
        states[n + 1] = inflow / arrivals[0]
    return np.cumsum(states)


@dataclass(frozen=True)
class MDc(Model):
    """M/D/c: constant service, `servers` servers.

    Source: Crommelin 1932, Delay probability formulas when the holding times are constant. From one instant to another
    a service time later, the jobs in service leave and Poisson arrivals of mean a, the offered load, come: N' =
    max(0, N - c) + A. The generating function of that is fixed by the roots z(1) to z(c-1) of z**c = exp(a (z - 1))
    inside the unit circle. Results are good to about 1e-14 jobs (or probability), not relative to tiny ones.
    """

    servers: int

    def __post_init__(self) -> None:
        require_servers(self.servers)
        super().__post_init__()

    @property
    def utilisation(self) -> float:
        return self.offered_load / self.servers

    @property
    def probability_of_waiting(self) -> float:
        """1 - (c - a) / product of (1 - z(k)). Source: Crommelin 1932."""
        return max(0.0, 1 - (self.servers - self.offered_load) / float(np.prod(1 - self._roots).real))

    @property
    def mean_waiting_time(self) -> float:
        """Lq / lambda, where Lq = (a**2 - c (c - 1)) / (2 (c - a)) + sum of 1 / (1 - z(k)). Source: Crommelin 1932."""
        load, servers = self.offered_load, self.servers
        queue = (load**2 - servers * (servers - 1)) / (2 * (servers - load)) + float(np.sum(1 / (1 - self._roots)).real)
        return max(0.0, queue / self.arrival_rate)

    @cached_property
    def _roots(self) -> npt.NDArray[np.complex128]:
        """z(1) to z(c-1): z = w exp(rho (z - 1)), w a c-th root of unity, contracts the unit disc by rho or more."""
        unit: npt.NDArray[np.complex128] = np.exp(2j * np.pi * np.arange(1, self.servers) / self.servers)
        roots = np.zeros_like(unit)
        while True:
            step = unit * np.exp(self.utilisation * (roots - 1)) - roots
            roots = roots + step
            if np.all(np.abs(step) < 2e-15):
                return roots
