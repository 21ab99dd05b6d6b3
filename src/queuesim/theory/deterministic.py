"""Constant service: M/D/1 and M/D/c, with the distributions of their waiting times.

An instant and the instant one service time later: the jobs that are in service at the first are gone at the second, and
what arrived in between is still there. So the queue u obeys u' = max(0, u + A - c), where A, the arrivals in one
service time, is Poisson (Crommelin 1932). The window limiter obeys the same rule: see `queuesim.theory.limiter`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from queuesim.theory.general import pollaczek_khinchine
from queuesim.theory.model import MultiServer, quantile
from queuesim.theory.poisson import Array, longest, poisson

LONGEST = 2**22
"""Queue lengths of a distribution at most: enough for a utilisation of up to 0.99999."""


@dataclass(frozen=True)
class MDc(MultiServer):
    """M/D/c: constant service, `servers` servers.

    Source: Crommelin 1932, Delay probability formulas when the holding times are constant; Franx 2001, A simple
    solution for the M/D/c waiting time distribution. Crommelin's generating function is evaluated by Fourier
    transforms, not by its roots, so that thousands of servers are no different from one. Probabilities are good to
    about 1e-14.

    Raises:
        ValueError: a parameter out of its range, or, for all but the load, a utilisation above 0.99999.
        UnstableError: as much work arrives as the servers can do, or more.
    """

    @property
    def probability_of_waiting(self) -> float:
        """P(at least c jobs in the system): arrivals see time averages."""
        return max(0.0, 1 - self.states_cdf(self.servers - 1))

    @property
    def mean_waiting_time(self) -> float:
        """Lq / lambda. Source: Spitzer 1956: Lq is the sum over k of E[max(0, N(k a) - k c)] / k, N Poisson."""
        walk = _walk(self.offered_load, self.servers)
        return float(np.arange(len(walk)) @ walk) / self.arrival_rate

    @cached_property
    def _states_cdf(self) -> Array:
        """P(at most n jobs in the system), n from 0 until it is 1: the queue a service time ago, and arrivals since."""
        queue, load = queue_lengths(self.offered_load, self.servers), self.offered_load
        size = _power_of_two(len(queue) + longest(load))
        circle = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
        states = np.fft.irfft(np.fft.rfft(queue, size) * np.exp(load * (circle - 1)), size)
        return np.asarray(np.minimum(np.cumsum(np.maximum(states, 0.0)), 1.0))

    def states_cdf(self, jobs: int) -> float:
        """P(at most so many jobs in the system)."""
        return float(self._states_cdf[min(jobs, len(self._states_cdf) - 1)]) if jobs >= 0 else 0.0

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds).

        Source: Franx 2001. In the k-th service time, with u = lambda (k D - t), it is the sum over j < k c of
        e^-u u^j / j! times P(at most (k + 1) c - 1 - j jobs in the system). Unlike the older alternating sum (Erlang
        1909, Crommelin 1932) it adds only positive terms, so it holds in the tail.
        """
        if seconds < 0:
            return 0.0
        services = math.floor(seconds / self.mean_service) + 1
        left = max(0.0, self.arrival_rate * (services * self.mean_service - seconds))
        terms = min(services * self.servers, longest(left))
        states = self._states_cdf
        below = np.minimum((services + 1) * self.servers - 1 - np.arange(terms), len(states) - 1)
        return min(1.0, float(poisson(left, terms) @ states[below]))

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        return quantile(self.waiting_cdf, probability, self.mean_service)

    def time_in_system_cdf(self, seconds: float) -> float:
        """P(time in system <= seconds): the waiting time shifted by one service."""
        return self.waiting_cdf(seconds - self.mean_service)

    def time_in_system_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs is done. Raises ValueError outside [0, 1)."""
        return self.waiting_quantile(probability) + self.mean_service


@dataclass(frozen=True)
class MD1(MDc):
    """M/D/1: constant service, one server."""

    servers: int = field(default=1, init=False, repr=False)

    @property
    def probability_of_waiting(self) -> float:
        """rho: arrivals see time averages."""
        return self.utilisation

    @property
    def mean_waiting_time(self) -> float:
        """Source: Erlang 1909; Gross, Shortle, Thompson & Harris, section 5.1."""
        return pollaczek_khinchine(self, 0.0)


def queue_lengths(load: float, servers: int) -> Array:
    """P(u = n) of the queue u' = max(0, u + A - servers) with A Poisson of mean `load`, until nothing is left.

    Source: Spitzer 1956, A combinatorial lemma and its application to probability theory: the generating function is
    exp(sum over n >= 1 of b(n) (z**n - 1)), where b(n) is the sum over k of P(S(k) = n) / k and S the walk with the
    steps A - servers. Both steps by Fourier transforms, as Grübel 1991 does (Algorithm AS 265: G/G/1 via fast Fourier
    transform).

    Raises:
        ValueError: a utilisation so close to 1 that the distribution is longer than LONGEST.
    """
    walk = _walk(load, servers)
    size = 2 * len(walk)
    transform = np.fft.rfft(walk, size)
    lengths = np.fft.irfft(np.exp(transform - walk.sum()), size)[: len(walk)]
    return np.maximum(lengths, 0.0)


def _walk(load: float, servers: int) -> Array:
    """b(n) of `queue_lengths`; b(0) is 0.

    -log(1 - E[z**(A - c)]) has them as the coefficients of its positive powers. It is taken on a circle between 1 and
    tau, the solution above 1 of tau**c = exp(a (tau - 1)), where it has neither pole nor branch.
    """
    # log of the radius: half that of tau. Coefficients are cut where a power of the radius is below 1e-17
    half = min(math.log(_decay(load, servers)) / 2, 1.0)
    size = _power_of_two(40 / half)
    if size > LONGEST:
        raise ValueError(
            f"a utilisation of {load / servers:.9g} is too close to 1 for the distribution of the queue: it has more "
            f"than {LONGEST:,} lengths"
        )
    places = np.arange(size // 2 + 1)
    # the angle of z**c is a whole number of steps: no digit of it is lost, however large c is
    turned = np.exp(-2j * np.pi * (places * (servers % size) % size) / size)
    circle = np.exp(2j * np.pi * places / size)
    step = turned * np.exp(load * (math.exp(half) * circle - 1) - servers * half)
    # irfft wants e^(-i n theta) in its sum conjugated: the coefficient of z**n is that of circle**n
    powers = np.fft.irfft(np.conj(-np.log1p(-step)), size)[: size // 2] * np.exp(-half * np.arange(size // 2))
    powers[0] = 0.0
    return np.asarray(np.maximum(powers, 0.0))


def _decay(load: float, servers: int) -> float:
    """tau above 1 with tau**c = exp(a (tau - 1)): the queue's probabilities fall by 1 / tau with each length.

    Newton's method from above on rho (tau - 1) - log(tau), which is convex.
    """
    utilisation = load / servers
    high = 2.0
    while utilisation * (high - 1) <= math.log(high):
        high *= 2
        if high > 8:
            return high  # it is above that: so steep a fall needs no exact figure
    for _ in range(200):
        value = utilisation * (high - 1) - math.log(high)
        lower = high - value / (utilisation - 1 / high)
        if not lower < high * (1 - 1e-15):
            break
        high = lower
    return max(high, 1 + 1e-12)


def _power_of_two(least: float) -> int:
    return max(64, int(2 ** math.ceil(math.log2(least))))
