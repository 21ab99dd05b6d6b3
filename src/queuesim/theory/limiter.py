"""A rate limiter as a server: jobs that wait for its next window, as long as slots are no bottleneck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from queuesim.theory.deterministic import queue_lengths
from queuesim.theory.model import quantile, require_count, require_positive, require_stable
from queuesim.theory.poisson import Array, longest, poisson_tail


@dataclass(frozen=True)
class WindowLimiter:
    """A limiter of `max_starts` per window, in front of more slots than it ever lets jobs into. Poisson arrivals.

    A window opens at the first start after the last one has closed, and lasts `window` seconds; after `max_starts`
    starts nothing can start until it closes. In the terms of queueing theory the limiter is a server that takes up to
    `max_starts` jobs at once, lets late ones join, and is busy for a window: bulk service with an accessible batch.
    Policing in networks knows it as the triggered jumping window (Rathgeb 1991).

    With u for the jobs that wait when a window opens, without the one that opens it, u' = max(0, u + A - max_starts),
    where A, the arrivals in a window, is Poisson. That is the queue of M/D/c with the window as service and
    `max_starts` servers, whose solution is used here (Crommelin 1932, Spitzer 1956); the rest is integration over the
    window. So a limiter over a *sliding* window would be M/D/c itself, and this one with `max_starts` of 1 is M/D/1.

    Where slots bind, too, no closed form is known to us: a start that waits for a slot also moves its window.

    Raises:
        ValueError: a parameter out of its range, or a load above 0.99999 of what the limiter allows.
        UnstableError: as many jobs arrive as the limiter lets start, or more.
    """

    arrival_rate: float
    """New jobs per second."""
    max_starts: int
    """Starts per window."""
    window: float
    """Seconds of a window."""

    def __post_init__(self) -> None:
        require_positive("arrival_rate", self.arrival_rate)
        require_count("max_starts", self.max_starts)
        require_positive("window", self.window)
        require_positive("arrival_rate x window", self.offered_load)
        require_stable(self.offered_load, self.max_starts, self)

    @property
    def offered_load(self) -> float:
        """Jobs that arrive in the time of a window, on average."""
        return self.arrival_rate * self.window

    @property
    def capacity(self) -> float:
        """Starts per second at most."""
        return self.max_starts / self.window

    @property
    def utilisation(self) -> float:
        """Arrivals as a fraction of the starts that the limiter allows."""
        return self.offered_load / self.max_starts

    @property
    def throughput(self) -> float:
        """Jobs per second that start: in steady state, as many as arrive."""
        return self.arrival_rate

    @cached_property
    def _waiting(self) -> Array:
        """P(u = n)."""
        return queue_lengths(self.offered_load, self.max_starts)

    def _seconds(self, since: float) -> Array:
        """Mean seconds of a window after its first `since` in which u + 1 and n new jobs have come to it, by u + n."""
        length = len(self._waiting) + longest(self.offered_load)
        # the integral of P(n arrivals in t) over t is P(more than n) / lambda
        seconds = (poisson_tail(self.offered_load, length) - poisson_tail(self.arrival_rate * since, length)) / (
            self.arrival_rate
        )
        size = 2 ** math.ceil(math.log2(2 * length))
        product = np.fft.irfft(np.fft.rfft(self._waiting, size) * np.fft.rfft(seconds, size), size)
        return np.maximum(product[: 2 * length], 0.0)

    @cached_property
    def _in_window(self) -> Array:
        return self._seconds(0.0)

    @cached_property
    def _idle(self) -> float:
        """Mean seconds from the end of a window to the start of the next one: nothing waits, and the next job comes."""
        # u + 1 and the arrivals fit into the window: P(A <= max_starts - 1 - u)
        most = self.max_starts
        fits = 1 - poisson_tail(self.offered_load, most)[::-1]
        queue = self._waiting[:most]
        return float(queue @ fits[: len(queue)]) / self.arrival_rate

    @property
    def mean_cycle(self) -> float:
        """Mean seconds from the opening of one window to that of the next."""
        return self.window + self._idle

    @property
    def share_shut(self) -> float:
        """Fraction of time in which no start is left."""
        return float(self._in_window[self.max_starts - 1 :].sum()) / self.mean_cycle

    @property
    def probability_of_waiting(self) -> float:
        """Probability that a job can't start when it comes: arrivals see time averages."""
        return self.share_shut

    @property
    def mean_queue_length(self) -> float:
        """Lq: mean number of jobs that wait for the limiter: those of a window above `max_starts`, over time."""
        above = self._in_window[self.max_starts - 1 :]
        return float(above @ np.arange(len(above))) / self.mean_cycle

    @property
    def mean_waiting_time(self) -> float:
        """Wq: mean seconds that a job waits for the limiter. Source: Little 1961."""
        return self.mean_queue_length / self.arrival_rate

    def waiting_cdf(self, seconds: float) -> float:
        """P(waiting <= seconds), first come, first served.

        A job that comes to a window as its j-th starts after as many further windows as `max_starts` goes into j - 1
        whole times, so it waits for the rest of its own and for all of these but one.
        """
        if seconds < 0:
            return 0.0
        windows = math.floor(seconds / self.window)
        rest = seconds - windows * self.window
        first, last = self.max_starts * (windows + 1) - 1, self.max_starts * (windows + 2) - 1
        sooner = self._idle + float(self._in_window[:first].sum())
        late = float(self._seconds(max(self.window - rest, 0.0))[first:last].sum()) if rest else 0.0
        return min(1.0, (sooner + late) / self.mean_cycle)

    def waiting_quantile(self, probability: float) -> float:
        """Seconds within which this fraction of jobs starts. Raises ValueError outside [0, 1)."""
        return quantile(self.waiting_cdf, probability, self.window)
