"""Rollbacks: faults after which the queue is as it was some time ago, and what it has forgotten by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.results.recording import FaultRow

Array = npt.NDArray[Any]

TICK = 1e-6
"""Seconds that two moments may differ and be one."""
FLIGHT = 30.0
"""Seconds that a command may be under way, with latency."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rollback:
    """The queue forgot what it had recorded between two moments."""

    kind: str
    since: float
    until: float
    """When the fault struck."""

    def __str__(self) -> str:
        return f"{self.kind} at {self.until:g} s"


class Rollbacks:
    """All rollbacks of a run, in their order.

    Args:
        late: spans in which commands took effect later than they were sent: what is recorded bears the time of sending.
        resolution: seconds by which a recorded time may be too early: Redis cuts times to whole milliseconds.
    """

    def __init__(self, faults: Sequence[FaultRow], late: Sequence[Span] = (), resolution: float = TICK) -> None:
        found = [
            Rollback(fault.kind, max(fault.began - fault.lost, 0.0), fault.began)
            for fault in faults
            if fault.lost is not None
        ]
        self.all = sorted(found, key=lambda rollback: rollback.until)
        self._late = late
        self._edge = max(TICK, resolution)

    def __bool__(self) -> bool:
        return bool(self.all)

    def history(self) -> list[Span]:
        """The spans of time of which the queue knows at the end, the last one first.

        After a rollback it knows what it knew at `since`; that may be of a time before another rollback, which is
        undone by it.
        """
        spans, end = [], np.inf
        for rollback in reversed(self.all):
            # a failover that follows at once goes back to what another has just restored
            if rollback.until <= end + TICK:
                spans.append((rollback.until, end))
                end = rollback.since
        return [*spans, (-np.inf, end)]

    def lasts(self, times: Array) -> Array:
        """Whether the queue still knows at the end what it recorded at each moment."""
        known: Array = np.zeros(len(times), dtype=bool)
        moments = _Moments(times)
        for since, until in self.history():
            rows = moments.between(since, until)
            known[rows] |= (times[rows] > since) & (times[rows] < until - TICK)
        return known

    def undid(self, times: Array) -> Array:
        """The first of the rollbacks by which the queue forgot what it recorded at each moment, if only until another
        rollback brought it back; -1: none."""
        found = np.full(len(times), -1)
        moments = _Moments(times)
        for i, rollback in reversed(list(enumerate(self.all))):
            found[moments.between(rollback.since - self._early(rollback), rollback.until)] = i
        return found

    def may_undo(self, times: Array) -> Array:
        """For each rollback, whether it may have made the queue forget what it recorded at each moment."""
        # a recorded time may be the whole millisecond before the moment
        since = [each.since - max(self._early(each), self._edge) for each in self.all]
        rows = [(times >= first) & (times <= each.until) for first, each in zip(since, self.all, strict=True)]
        found: Array = np.array(rows, dtype=bool).reshape(len(self.all), len(times))
        return found

    def came_back(self, times: Array) -> Array:
        """Whether the queue forgot it by one rollback and got it back by another."""
        came_back: Array = self.lasts(times) & self._within(times)
        return came_back

    def forgot(self, times: Array) -> Array:
        """As `undid`; -1 for what came back."""
        forgotten: Array = np.where(self.came_back(times), -1, self.undid(times))
        return forgotten

    def on_edge(self, times: Array) -> Array:
        """Whether it happened at the very moment to which the queue went back, or at the one when it went: before it or
        after, nobody can say."""
        edge = np.zeros(len(times), dtype=bool)
        moments = _Moments(times)
        for rollback in self.all:
            for moment in (rollback.since, rollback.until):
                rows = moments.between(moment - 2 * self._edge, moment + 2 * self._edge)
                edge[rows] |= np.abs(times[rows] - moment) <= self._edge
        return edge

    def blame(self, which: Array, word: str) -> str:
        """What the rollbacks did, in words; -1 is none of them."""
        counts = Counter(which[which >= 0].tolist())
        return ", ".join(f"{count} {word} by {self.all[i]}" for i, count in sorted(counts.items()))

    def _within(self, times: Array) -> Array:
        within = np.zeros(len(times), dtype=bool)
        moments = _Moments(times)
        for rollback in self.all:
            rows = moments.between(rollback.since, rollback.until)
            within[rows] |= times[rows] > rollback.since
        return within

    def _early(self, rollback: Rollback) -> float:
        under_way = any(since <= rollback.until and rollback.since <= until for since, until in self._late)
        return FLIGHT if under_way else TICK


class _Moments:
    """Moments in order, so that those of a span are found without a look at all others: there are many spans."""

    def __init__(self, times: Array) -> None:
        self._order = np.argsort(times, kind="stable")
        self._times = times[self._order]

    def between(self, since: float, until: float) -> Array:
        """The rows of the moments in [since, until]. NaN, for what was never recorded, is in no span."""
        first = np.searchsorted(self._times, since, side="left")
        known = (
            np.searchsorted(self._times, until, side="right")
            if until < np.inf
            else np.searchsorted(self._times, np.nan)
        )
        rows: Array = self._order[first:known]
        return rows
