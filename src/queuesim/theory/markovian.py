"""Models with exponential service: M/M/1, M/M/c and Erlang's two formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass

from queuesim.theory.general import require_scv
from queuesim.theory.model import Model, quantile, require_positive, require_probability, require_servers


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
class MM1(Model):
    """M/M/1: exponential service, one server. Source: Kleinrock, Queueing Systems vol. 1, section 3.2."""

    @property
    def probability_of_waiting(self) -> float:
        """rho: arrivals see time averages."""
        return self.utilisation

    @property
    def mean_waiting_time(self) -> float:
        """rho / (mu - lambda). Source: Kleinrock vol. 1, section 3.2."""
        return self.utilisation * self.mean_service / (1 - self.utilisation)

    @property
    def _rate(self) -> float:
        """mu - lambda: the time in system is exponential with this rate."""
        return (1 - self.utilisation) / self.mean_service

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds) = 1 - rho exp(-(mu - lambda) t). Source: Kleinrock vol. 1, section 5.12."""
        return 1 - self.utilisation * math.exp(-self._rate * seconds) if seconds >= 0 else 0.0

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        return max(0.0, math.log(self.utilisation / (1 - probability)) / self._rate)

    def time_in_system_cdf(self, seconds: float) -> float:
        """P(time in system <= seconds): exponential with rate mu - lambda. Source: Kleinrock vol. 1, section 5.12."""
        return -math.expm1(-self._rate * seconds) if seconds >= 0 else 0.0

    def time_in_system_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs is done. Raises ValueError outside [0, 1)."""
        require_probability("probability", probability)
        return -math.log1p(-probability) / self._rate


@dataclass(frozen=True)
class MMc(Model):
    """M/M/c: exponential service, `servers` servers. Source: Gross & Harris, Fundamentals of Queueing Theory, ch. 2."""

    servers: int

    def __post_init__(self) -> None:
        require_servers(self.servers)
        super().__post_init__()

    @property
    def utilisation(self) -> float:
        return self.offered_load / self.servers

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


# -- A queue with Bernoulli feedback: a job that fails goes back to the tail, which is what an immediate retry does


@dataclass(frozen=True)
class BernoulliFeedback(Model):
    """M/G/1 (M/M/1 by default) where each service ends with a return to the tail of the queue with probability p.

    Every visit draws a new service time, and there is no limit to the visits. Waiting time and time in system are of
    the job, over all its visits.

    Source: Takács 1963, A single-server queue with feedback. The number in system does not depend on where the job
    returns to, for the server can't tell the waiting jobs apart. Returned to the head instead, a job is one long
    service of a geometric number of visits: so L, and by Little's law the mean time in system, are M/G/1's with that
    service. For exponential service the long one is exponential again: W is M/M/1's with service rate mu (1 - p). The
    distribution of the time in system is another matter, for the visits of a job depend on each other: see Takács.
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
    def probability_of_waiting(self) -> float:
        """rho: the probability that a new job, on its first visit, finds the server busy."""
        return self.utilisation

    @property
    def scv_of_work(self) -> float:
        """Squared coefficient of variation of a job's services together: (1 - p) scv + p, a geometric sum's."""
        return (1 - self.feedback_probability) * self.scv + self.feedback_probability

    @property
    def mean_waiting_time(self) -> float:
        """Mean seconds in the queue over all visits. Source: Takács 1963, by way of Pollaczek-Khinchine as above."""
        return self.utilisation * (1 + self.scv_of_work) * self.mean_work / (2 * (1 - self.utilisation))

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
