"""Models in steady state with one class of jobs: M/M/1, M/M/c, M/G/1, M/D/1, M/D/c, and Erlang's two formulas.

Symbols of the literature: lambda is `arrival_rate`, 1/mu is `mean_service`, rho is `utilisation`, Wq is
`mean_waiting_time`, W is `mean_time_in_system`, Lq is `mean_queue_length`, L is `mean_jobs_in_system`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt


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
    def utilisation(self) -> float:
        return self.offered_load / self.servers


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


# -- Service that is not exponential: M/G/1 and, for constant service, M/D/1 and M/D/c


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
    def mean_waiting_time(self) -> float:
        return pollaczek_khinchine(self, self.scv)


def pollaczek_khinchine(model: Model, scv: float) -> float:
    """Mean waiting time with one server: rho (1 + scv) / (2 (1 - rho)) times the mean work, of which `scv` is.

    Source: Pollaczek 1930 and Khinchine 1932; Kleinrock vol. 1, section 5.6.
    """
    return model.utilisation * (1 + scv) * model.mean_work / (2 * (1 - model.utilisation))


@dataclass(frozen=True)
class MD1(Model):
    """M/D/1: constant service, one server."""

    @property
    def mean_waiting_time(self) -> float:
        """Source: Erlang 1909; Gross & Harris, ch. 5."""
        return pollaczek_khinchine(self, 0.0)

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
class MDc(MultiServer):
    """M/D/c: constant service, `servers` servers.

    Source: Crommelin 1932, Delay probability formulas when the holding times are constant. From one instant to another
    a service time later, the jobs in service leave and Poisson arrivals of mean a, the offered load, come: N' =
    max(0, N - c) + A. The generating function of that is fixed by the roots z(1) to z(c-1) of z**c = exp(a (z - 1))
    inside the unit circle. Results are good to about 1e-14 jobs (or probability), not relative to tiny ones.
    """

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


# -- Exponential service: M/M/1, M/M/c and Erlang's two formulas


def erlang_b(offered_load: float, servers: int) -> float:
    """Probability that a call is lost in M/G/c/c: `servers` servers and no queue.

    `offered_load` is in erlangs (arrival rate times mean service). Source: Erlang 1917, by the recursion
    B(n) = a B(n-1) / (n + a B(n-1)), B(0) = 1 (Gross & Harris), whose terms are all positive: no overflow, and no
    digit is lost however many servers there are.

    Raises:
        ValueError: a load that is not above 0, or fewer servers than 1.
    """
    require_positive("offered_load", offered_load)
    require_servers(servers)
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered_load * blocked / (n + offered_load * blocked)
    return blocked


def erlang_c(offered_load: float, servers: int) -> float:
    """Probability that a job has to wait in M/M/c. Source: Erlang 1917, as C = c B / (c - a (1 - B)) from Erlang B.

    Raises:
        ValueError: as `erlang_b`, or a load that is not below the number of servers.
    """
    blocked = erlang_b(offered_load, servers)
    if not offered_load < servers:
        raise ValueError(f"no steady state: a load of {offered_load:g} erlangs needs more than {servers} servers")
    return servers * blocked / (servers - offered_load * (1 - blocked))


@dataclass(frozen=True)
class MMc(MultiServer):
    """M/M/c: exponential service, `servers` servers. Source: Gross & Harris, Fundamentals of Queueing Theory, ch. 2."""

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
        """C / (c mu - lambda), with Erlang's C. Source: Erlang 1917; Gross & Harris, ch. 2."""
        return self.probability_of_waiting / self._rate

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds) = 1 - C exp(-(c mu - lambda) t). Source: Erlang 1917; Gross & Harris, ch. 2."""
        return 1 - self.probability_of_waiting * math.exp(-self._rate * seconds) if seconds >= 0 else 0.0

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        return max(0.0, math.log(self.probability_of_waiting / (1 - probability)) / self._rate)

    def time_in_system_cdf(self, seconds: float) -> float:
        """P(time in system <= seconds): the waiting time's distribution convolved with exponential service.

        Source: Gross & Harris, ch. 2. With r = c mu - lambda, P(time in system > t) is e^(-mu t) plus, for the jobs
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


# -- A queue with Bernoulli feedback: a job that fails goes back to the tail, which is what an immediate retry does


@dataclass(frozen=True)
class BernoulliFeedback(Model):
    """M/G/1 (M/M/1 by default) where each service ends with a return to the tail of the queue with probability p.

    Every visit draws a new service time, and there is no limit to the visits. Waiting time and time in system are of
    the job, over all its visits.

    Source: Takács 1963, A single-server queue with feedback. The number in system does not depend on where the job
    returns to, because the server can't distinguish the waiting jobs. Returned to the head instead, a job is one long
    service of a geometric number of visits: so L, and by Little's law the mean time in system, are M/G/1's with that
    service. For exponential service the long one is exponential again: W is M/M/1's with service rate mu (1 - p). The
    distribution of the time in system is another matter, because the visits of a job depend on each other: see Takács.
    """

    feedback_probability: float
    """p: probability that a service ends with a return."""
    scv: float = 1.0
    """Squared coefficient of variation of one service; 1 is exponential."""

    def __post_init__(self) -> None:
        require_probability("feedback_probability", self.feedback_probability)
        require_scv("scv", self.scv)
        super().__post_init__()

    @property
    def mean_visits(self) -> float:
        """Mean number of services of a job: 1 / (1 - p)."""
        return 1 / (1 - self.feedback_probability)

    @property
    def mean_work(self) -> float:
        return self.mean_service * self.mean_visits

    @property
    def scv_of_work(self) -> float:
        """Squared coefficient of variation of a job's services together: (1 - p) scv + p, a geometric sum's."""
        return (1 - self.feedback_probability) * self.scv + self.feedback_probability

    @property
    def mean_waiting_time(self) -> float:
        """Mean seconds in the queue over all visits. Source: Takács 1963, by way of Pollaczek-Khinchine as above."""
        return pollaczek_khinchine(self, self.scv_of_work)

    @property
    def mean_waiting_time_per_visit(self) -> float:
        """Mean seconds in the queue of one visit, over all visits of all jobs (Little's law for the visits)."""
        return self.mean_waiting_time / self.mean_visits

    @property
    def mean_first_waiting_time(self) -> float:
        """Mean seconds in the queue before the first service.

        Source: arrivals see time averages: a service for each job that waits, and for the one in service the mean
        residual service, mean_service (1 + scv) / 2 (Kleinrock vol. 1, section 5.2). Later visits differ, save for
        exponential service, where every visit has the same mean.
        """
        residual = self.mean_service * (1 + self.scv) / 2
        return self.mean_queue_length * self.mean_service + self.utilisation * residual
