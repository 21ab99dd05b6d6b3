"""Judging a live run: the oracles of every run, with moments that come from several clocks laid on the server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from queuesim.events import EventKind
from queuesim.metrics.recording import CheckRow, Facts, FaultRow, Recording, Stop
from queuesim.processor import Processor
from queuesim.scenario.fleet import slots_of
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.schema import Scenario
from queuesim.testing.oracles import Evidence, Promises, judge
from queuesim.testing.oracles.case import unjudged

Array = npt.NDArray[Any]

RESOLUTION = 0.002
"""Seconds: what the server tells, and what clients tell it, are whole milliseconds."""
PATIENCE = 5.0
"""Seconds that a start may be late: machines are busy, and whoever missed a word looks again after that time."""


def judge_live(
    recording: Recording,
    promises: Promises,
    evidence: Evidence,
    began: Mapping[str, float],
    gaps: Sequence[float] = (),
) -> list[CheckRow]:
    """What the oracles say of a live run: nothing, if events are missing that no fault of the run took.

    Args:
        began: when each worker first took jobs, by its own word.
        gaps: times before which events are gone; see Chronicle.
    """
    started = starts_by_server(recording)
    reported = recording.attempts["started"]
    under_way = started - reported
    known = under_way[np.isfinite(under_way)]
    attempts = recording.attempts.copy()
    attempts["started"] = np.where(np.isnan(started), reported, started)
    slack = RESOLUTION + (max(float(known.max()), 0.0) if len(known) else 0.0)
    promises = replace(
        promises,
        # one that never began has no slot that could be idle
        starts={name: began.get(name, np.inf) for name in promises.concurrency},
        resolution=RESOLUTION,
        slack=slack,
        pickup=PATIENCE + slack,
    )
    rows = judge(replace(recording, attempts=attempts), promises, evidence)
    unknown = unexplained(gaps, recording.faults)
    if not unknown:
        return rows
    why = f"the server lost or trimmed events before second {unknown[0]:.3f} that nobody had read"
    return [unjudged(row.name, why) for row in rows]


def unexplained(gaps: Sequence[float], faults: Sequence[FaultRow]) -> list[float]:
    """Gaps that are no consequence of a fault that took the server's memory, which makes one gap at most."""
    losses = sorted(fault.began for fault in faults if fault.lost is not None)
    left = []
    for gap in sorted(gaps):
        if losses and losses[0] <= gap:
            del losses[0]
        else:
            left.append(gap)
    return left


def starts_by_server(recording: Recording) -> Array:
    """When each attempt began, by the server's clock; NaN: the event stream does not tell.

    A worker's own word is the time at which it asked for a job: earlier than it got one, by as long as a command takes.
    """
    events = recording.events
    active = events[events["kind"] == EventKind.ACTIVE.code]
    order = np.argsort(active["number"], kind="stable")
    number, time = active["number"][order].astype(np.int64), active["time"][order]
    if not len(number):
        return np.full(len(recording.attempts), np.nan)
    first = np.concatenate(([True], number[1:] != number[:-1]))
    begins = np.maximum.accumulate(np.where(first, np.arange(len(number)), 0))
    # the attempt's number is its place among its job's starts
    key = (number << 16) + np.arange(len(number)) - begins + 1
    wanted = (recording.attempts["number"].astype(np.int64) << 16) + recording.attempts["attempt"]
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    found: Array = np.where(key[place] == wanted, time[place], np.nan)
    return found


@dataclass(frozen=True, slots=True)
class Post:
    """A worker's place in a run whose workers are tasks of its own process."""

    name: str
    settings: WorkerSettings
    joined: float = 0.0


def facts_of(
    scenario: Scenario, processor: Processor, seed: int, origin: float, duration: float, stopped: Stop | None
) -> Facts:
    """What was run, and for how long.

    Args:
        origin: its second 0, in seconds since the Unix epoch.
    """
    kinds = scenario.workers
    own = next((kind.limiter.model() for kind in kinds if kind.limiter is not None), processor.limiter)
    shared = scenario.queue.rate_limit
    limiter = None if own is None else (own.max, own.duration)
    if shared is not None:
        # of a shared one the max goes first (BullMQ 6.7)
        limiter = (shared.max, shared.duration if own is None else own.duration)
    return Facts(
        scenario=scenario.name,
        backend="redis",
        seed=seed,
        duration=duration,
        asked=scenario.duration,
        warmup=scenario.warmup,
        epoch=origin,
        workers=sum(kind.count for kind in kinds),
        concurrency=sum(kind.count * (kind.concurrency or processor.concurrency) for kind in kinds),
        slots=slots_of(kinds, processor.concurrency),
        limiter=limiter,
        stopped=stopped,
    )
