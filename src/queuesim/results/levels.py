"""Levels: numbers that step up and down over time, such as the jobs that wait, with their averages over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.results.recording import RunFrames, rows_of

Array = npt.NDArray[Any]
PENDING = ("waiting", "prioritized", "delayed", "removed")
"""States of jobs that wait, or did until they were removed."""
PARTS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
HOURS = (1, 2, 3, 4, 6, 8, 12, 24, 48, 168)
WIDTHS = (*PARTS, *(60 * part for part in PARTS), *(3600 * hour for hour in HOURS))
"""Seconds that divide a minute, an hour, a day or a week evenly."""


class Level:
    """How many of some intervals hold at each moment. An interval begins at `up` and holds until just before `down`.

    Both are seconds, paired or not; NaN in `down` and times after the end of the run are fine: that interval stays.
    """

    def __init__(self, up: Array, down: Array) -> None:
        down = down[np.isfinite(down)]
        times = np.concatenate((up, down))
        steps = np.ones(len(times), dtype=np.int8)
        steps[len(up) :] = -1
        order = np.argsort(times, kind="stable")
        times, values = times[order], np.cumsum(steps[order], dtype=np.int64)
        # of all steps at one moment only the last counts: a job that starts when it is ready never waited
        settled = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, dtype=bool)
        self.times: npt.NDArray[np.float64] = np.concatenate(([-np.inf], times[settled]))
        """When the level changes; the first stands for the time before."""
        self.values: npt.NDArray[np.int64] = np.concatenate(([0], values[settled]))
        """The level from each of `times` on."""
        spans = np.diff(self.times[1:])
        self._areas = np.concatenate(([0.0, 0.0], np.cumsum(self.values[1:-1] * spans)))[: len(self.times)]

    def at(self, time: Any) -> Any:
        """The level at `time`, a number or an array, after everything that happened at that moment."""
        return self.values[np.searchsorted(self.times, time, side="right") - 1]

    def before(self, time: Any) -> Any:
        """The level just before `time`, a number or an array: before anything that happened at that moment."""
        return self.values[np.maximum(np.searchsorted(self.times, time, side="left") - 1, 0)]

    def area(self, time: Any) -> Any:
        """The level's integral up to `time`, a number or an array."""
        step = np.searchsorted(self.times, time, side="right") - 1
        since = np.where(step > 0, time - np.where(step > 0, self.times[step], 0.0), 0.0)
        return self._areas[step] + self.values[step] * since

    def mean(self, start: float, end: float) -> float:
        """The average over [start, end), weighted by time. NaN if that is no time at all."""
        return float(self.area(end) - self.area(start)) / (end - start) if end > start else float("nan")

    def extreme(self, start: float, end: float, highest: bool = True) -> tuple[float, float]:
        """The highest (or lowest) level in [start, end), and when it was first reached. NaN if that is no time."""
        if not end > start:
            return float("nan"), float("nan")
        first = int(np.searchsorted(self.times, start, side="right")) - 1
        after = int(np.searchsorted(self.times, end, side="left"))
        values = self.values[first:after]
        place = int(values.argmax() if highest else values.argmin())
        return float(values[place]), max(start, float(self.times[first + place]))

    def highest(self, edges: Array) -> Array:
        """The highest level in each of the bins between ascending `edges`."""
        first = np.searchsorted(self.times, edges[:-1], side="right") - 1
        after = np.searchsorted(self.times, edges[1:], side="left")
        bounds = np.column_stack((first, after)).ravel()
        # one value more, as a bin may end behind the last change
        return np.maximum.reduceat(np.append(self.values, 0), bounds)[::2] if len(bounds) else self.values[:0]

    def quantiles(self, start: float, end: float, shares: Sequence[float]) -> list[float]:
        """Levels that are not exceeded for these shares of the time in [start, end). NaN if that is no time."""
        if not end > start:
            return [float("nan")] * len(shares)
        first = int(np.searchsorted(self.times, start, side="right")) - 1
        after = int(np.searchsorted(self.times, end, side="left"))
        edges = np.concatenate(([start], self.times[first + 1 : after], [end]))
        values = self.values[first:after]
        lowest = int(values.min())
        held = np.cumsum(np.bincount(values - lowest, weights=np.diff(edges)))
        return [float(lowest + min(int(np.searchsorted(held, share * held[-1])), len(held) - 1)) for share in shares]


@dataclass(slots=True)
class Selection:
    """Some of a result's jobs, with their attempts: masks over the rows of both frames."""

    jobs: Array
    attempts: Array


def everything(frames: RunFrames) -> Selection:
    """All jobs and attempts of a result."""
    return Selection(np.ones(len(frames.jobs), dtype=bool), np.ones(len(frames.attempts), dtype=bool))


def backlog(frames: RunFrames, chosen: Selection | None = None) -> Level:
    """Jobs that could start, but did not yet. Jobs that were lost don't count: nobody knows until when they waited."""
    chosen = chosen or everything(frames)
    ready, started = _attempts(frames, chosen, "ready", "started")
    up, down = _pending(frames, chosen)
    known = ~np.isnan(ready)
    return Level(
        np.concatenate((np.minimum(ready, started)[known], np.minimum(up, down))),
        np.concatenate((started[known], down)),
    )


def active(frames: RunFrames, chosen: Selection | None = None) -> Level:
    """Attempts that run. One that never ended runs until the end."""
    started, ended = _attempts(frames, chosen or everything(frames), "started", "ended")
    return Level(started, ended)


def delayed(frames: RunFrames, chosen: Selection | None = None) -> Level:
    """Jobs that wait for their delay or backoff to be over."""
    chosen = chosen or everything(frames)
    jobs = frames.jobs
    late = chosen.jobs & (jobs["delay"].to_numpy() > 0)
    added, ready = jobs["added"].to_numpy()[late], jobs["ready"].to_numpy()[late]
    until = np.fmin(ready, removed_at(frames)[late])
    ended, backoff = _attempts(frames, chosen, "ended", "backoff")
    again = backoff > 0
    return Level(
        np.concatenate((np.minimum(added, until), ended[again])),
        np.concatenate((until, (ended + backoff)[again])),
    )


def _attempts(frames: RunFrames, chosen: Selection, *names: str) -> list[Array]:
    """Columns of the chosen attempts whose start is known."""
    rows = chosen.attempts & frames.attempts["started"].notna().to_numpy()
    return [frames.attempts[name].to_numpy()[rows] for name in names]


def _pending(frames: RunFrames, chosen: Selection) -> tuple[Array, Array]:
    """Since when each job without a next attempt could have had one, and until when: for ever, or its removal."""
    jobs, attempts = frames.jobs, frames.attempts
    since = jobs["ready"].to_numpy().copy()
    row = rows_of(jobs["job"].to_numpy(), attempts["job"].to_numpy())
    ended, backoff = attempts["ended"].to_numpy(), attempts["backoff"].to_numpy()
    # attempts are in the order of their starts, and numpy keeps the last value assigned to a repeated index
    since[row[row >= 0]] = (ended + np.nan_to_num(backoff))[row >= 0]
    removed = (jobs["state"] == "removed").to_numpy()
    pending = chosen.jobs & jobs["state"].isin(PENDING).to_numpy() & ~np.isnan(since)
    until = np.full(len(jobs), np.inf)
    if removed.any():
        until[removed] = np.nan_to_num(removed_at(frames)[removed], nan=-np.inf)
        pending &= until > since
    return since[pending], until[pending]


def removed_at(frames: RunFrames) -> Array:
    """When each job was removed, in seconds; NaN: it was not, or no event says so."""
    jobs = frames.jobs
    moment = np.full(len(jobs), np.nan)
    if not (jobs["state"] == "removed").any():
        return moment
    events = frames.events[frames.events["kind"] == "removed"]
    row = rows_of(jobs["job"].to_numpy(), events["job"].to_numpy())
    moment[row[row >= 0]] = events["time"].to_numpy()[row >= 0]
    return moment


def bin_width(duration: float, most: int) -> float:
    """The narrowest such width, in seconds, that divides a duration into at most `most` bins.

    Durations too short or too long for any of WIDTHS are divided evenly.
    """
    wanted = duration / most
    if wanted <= 0:
        return 1.0
    if not WIDTHS[0] / 2 <= wanted <= WIDTHS[-1]:
        return wanted
    return float(next(width for width in WIDTHS if width >= wanted))
