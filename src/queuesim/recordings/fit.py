"""What a real backend costs, fitted from a recording: the overhead that a scenario then plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from queuesim.recordings.compare import Array, Observation, RecordingError, of_recording, read_config

SURELY_WAITING = 0.006
"""Seconds of waiting that show that all slots were busy: the job started because another one ended."""
FEWEST_TICKS = 8
"""Minimum number of late starts to fit the server's timer."""
LONGEST_GAP = 0.010
"""Maximum seconds between an end and the start that it made room for."""


@dataclass(frozen=True, slots=True)
class FittedOverhead:
    """The costs of a backend in seconds, each a mean over what the recording shows of it."""

    attempt: float
    """From the end of one attempt to the start of the next in the same slot, and the time by which attempts outlast
    their service."""
    attempts_seen: int
    pickup: float
    """From adding a job to starting it, on a worker with a vacant slot."""
    pickups_seen: int
    tick: float | None
    """Between two looks of the server at its time-outs; None where the recording shows too few late starts."""
    phase: float | None
    """When its first look was, since the recording began."""
    ticks_seen: int

    def as_yaml(self) -> str:
        """The line for a scenario file."""
        parts = [f"attempt: {self.attempt * 1000:.2f}ms", f"pickup: {self.pickup * 1000:.2f}ms"]
        if self.tick is not None and self.phase is not None:
            parts += [f"tick: {self.tick * 1000:.2f}ms", f"phase: {self.phase * 1000:.0f}ms"]
        return f"overhead: {{{', '.join(parts)}}}"


def fit_directory(directory: str | Path) -> FittedOverhead:
    """Measure a backend's costs in a recording; see `of_recording` for what a directory holds.

    Raises:
        RecordingError: it is not a recording, its jobs have no service_ms, or there is nothing to measure.
    """
    recording = of_recording(directory)
    config = read_config(Path(directory) / "config.json")
    if recording.service is None:
        raise RecordingError(
            f"{Path(directory) / 'jobs.csv'}: no column service_ms: how long were attempts meant to take?"
        )
    slots = int(config.get("concurrency", 1)) * int(config.get("workers", 1))
    return fit_overhead(recording, slots, recording.service)


def fit_overhead(recording: Observation, concurrency: int, service: Array) -> FittedOverhead:
    """Measure a backend's costs in a recording.

    Nothing is simulated: with all slots busy and jobs waiting, a slot that becomes free is filled at once, so the gap
    until the next start is the cost; on a worker with a vacant slot a new job's waiting time is.

    Args:
        concurrency: slots over all workers.
        service: seconds that each job's attempts were meant to take; a value a job.

    Raises:
        RecordingError: there is nothing to measure: no job waited for a slot, or all did.
    """
    first = recording.attempt == 1
    ready = np.where(first, recording.ready[recording.job], np.nan)
    waited = recording.started - ready
    busy = _busy_at(recording, recording.started)
    gaps = _gaps(recording.started[waited > SURELY_WAITING], np.sort(recording.ended))
    idle = waited[(waited < SURELY_WAITING) & (busy < concurrency)]
    if not len(gaps) or not len(idle):
        raise RecordingError("nothing to fit: in some of the recording jobs must wait for a slot, in some not")
    outlast = recording.ended - recording.started - service[recording.job]
    attempt = float(gaps.mean() + np.nanmean(outlast))
    tick, phase, seen = _fit_tick(_late_starts(recording, concurrency))
    return FittedOverhead(attempt, len(gaps), float(idle.mean()), len(idle), tick, phase, seen)


def _late_starts(recording: Observation, concurrency: int) -> Array:
    """When retries started late on a worker with a vacant slot, though nothing else happened since they were due.

    Redis answers the time-out of a blocked client when a command wakes it, or its own timer. Here no command did.
    """
    events = np.sort(np.concatenate([recording.added, recording.ended]))
    late = recording.started - recording.due > SURELY_WAITING
    quiet = np.searchsorted(events, recording.due + 0.001, "right") == np.searchsorted(
        events, recording.started, "right"
    )
    vacant = _busy_at(recording, recording.started) < concurrency
    starts: Array = recording.started[late & quiet & vacant & (recording.attempt > 1)]
    return starts


def _fit_tick(starts: Array) -> tuple[float | None, float | None, int]:
    """The period and phase of a timer from when it was seen to fire: those with the largest resultant.

    Source: the periodogram of a point process (Bartlett 1963), over periods near that of a Redis with hz 10.
    """
    if len(starts) < FEWEST_TICKS:
        return None, None, len(starts)
    periods = np.arange(0.0990, 0.1030, 0.00001)
    resultants = np.exp(2j * np.pi * starts[None, :] / periods[:, None]).mean(axis=1)
    best = int(np.abs(resultants).argmax())
    phase = float(np.angle(resultants[best]) / (2 * np.pi) * periods[best])
    return float(periods[best]), phase % float(periods[best]), len(starts)


def _busy_at(recording: Observation, times: Array) -> Array:
    """Attempts that run at each time, those that start then left out."""
    started = np.searchsorted(np.sort(recording.started), times, side="left")
    ended = np.searchsorted(np.sort(recording.ended), times, side="left")
    return (started - ended).astype(np.float64)


def _gaps(starts: Array, ends: Array) -> Array:
    """For each start, the time since the latest end that no earlier start has used."""
    used = np.zeros(len(ends), bool)
    gaps = []
    for start in starts:
        i = int(np.searchsorted(ends, start, side="right")) - 1
        while i >= 0 and used[i] and start - ends[i] <= LONGEST_GAP:
            i -= 1
        if i >= 0 and not used[i] and start - ends[i] <= LONGEST_GAP:
            used[i] = True
            gaps.append(start - ends[i])
    return np.array(gaps, np.float64)
