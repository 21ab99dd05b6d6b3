"""Limits on requests: how many a client may make, and how large they may be."""

from __future__ import annotations

from collections import OrderedDict

MOST_CLIENTS = 10_000
"""So many clients are remembered; the one that was silent for longest is forgotten first."""


class RequestLimiter:
    """A token bucket for each client.

    Args:
        rate: requests per second that it fills with.
        burst: requests at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        if not (rate > 0 and burst >= 1):
            raise ValueError(f"a limit needs a rate above 0 and a burst of 1 or more, not {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until the client may make a request; 0 if it may now, and then it is counted."""
        tokens, since = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(tokens + (now - since) * self.rate, float(self.burst))
        allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self.rate
