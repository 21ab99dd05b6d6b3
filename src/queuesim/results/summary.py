"""Summary: a run in numbers, as plain values that need no pandas to read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from queuesim.results.levels import Array, backlog
from queuesim.results.metrics import meter
from queuesim.results.recording import RunFrames, rows_of


@dataclass(frozen=True, slots=True)
class Spread:
    """How some durations are spread, in seconds; all NaN if there are none."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Array) -> Spread:
        """The spread of `values`, without its NaN. Percentiles interpolate linearly."""
        known = values[~np.isnan(values)]
        if not len(known):
            return cls(0, *(math.nan,) * 5)
        p50, p95, p99 = np.percentile(known, (50, 95, 99))
        return cls(len(known), float(known.mean()), float(p50), float(p95), float(p99), float(known.max()))


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of a set of jobs: all that were measured, or those of one name."""

    added: int
    completed: int
    failed: int
    unfinished: int
    """Still in the queue, or running, at the end."""
    removed: int
    lost: int
    """In no state at all at the end: jobs that vanished. Those of the warm-up count too."""
    attempts: int
    """Starts of these jobs."""
    retries: int
    """Attempts that failed and were to run again."""
    waiting: Spread
    latency: Spread
    service: Spread
    """Time that a job spent running, over all of its attempts."""

    @property
    def success_rate(self) -> float:
        """Completed over finished jobs; NaN if none finished."""
        return self.completed / (self.completed + self.failed) if self.completed + self.failed else math.nan

    @property
    def retry_amplification(self) -> float:
        """Starts per job that started: how much load retries add. NaN if none started."""
        return self.attempts / self.waiting.count if self.waiting.count else math.nan


@dataclass(frozen=True, slots=True)
class LimiterUse:
    """What the rate limiter did in the measured time."""

    max: int
    """Starts per window."""
    duration: float
    """Seconds a window."""
    windows: int
    full: int
    """Windows whose starts were used up."""
    time_limited: float
    """Seconds in which no start was left."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers. Jobs of the warm-up are left out; what says "time" speaks of the time after it."""

    start: float
    """Seconds: the end of the warm-up, where the measured time begins."""
    end: float
    jobs: Totals
    by_name: dict[str, Totals]
    """The same for each job name that occurred."""
    outcomes: dict[str, int]
    """How attempts ended, by ENDINGS: those that occurred."""
    errors: dict[str, int]
    """Attempts with an error by its category."""
    throughput: float
    """Jobs completed per second of measured time."""
    utilisation: float
    """Share of slots x measured time in which a handler ran."""
    backlog_mean: float
    """Jobs that could start and didn't, averaged over the measured time."""
    backlog_max: int
    backlog_max_at: float
    """When the backlog was first at its highest, in seconds."""
    backlog_end: int
    limiter: LimiterUse | None = None
    checks_failed: list[str] = field(default_factory=list)

    def _repr_html_(self) -> str:
        from queuesim.results.markup import fields_of, html_table

        return html_table(("", "value"), fields_of(self))


class Run(RunFrames, Protocol):
    """What plots and views show of a `Result`: its frames, its summary, and whether it is ok."""

    @property
    def ok(self) -> bool: ...

    def summary(self) -> Summary: ...


def summarise(frames: RunFrames) -> Summary:
    """Work a summary out of a result's frames."""
    facts, checks = frames.facts, frames.checks
    measured = ~frames.jobs["warmup"].to_numpy()
    level = backlog(frames)
    highest, at = level.extreme(facts.warmup, facts.duration)
    outcomes, errors = _attempts(frames, measured)
    return Summary(
        start=facts.warmup,
        end=facts.duration,
        jobs=_totals(frames, np.ones(len(measured), dtype=bool)),
        by_name={
            str(name): _totals(frames, (frames.jobs["name"] == name).to_numpy())
            for name in frames.jobs["name"].cat.categories
        },
        outcomes=outcomes,
        errors=errors,
        throughput=meter(frames, "throughput")(None, None),
        utilisation=meter(frames, "utilisation")(None, None),
        backlog_mean=level.mean(facts.warmup, facts.duration),
        backlog_max=0 if math.isnan(highest) else int(highest),
        backlog_max_at=at,
        backlog_end=int(level.at(facts.duration)),
        limiter=limiter_use(frames),
        checks_failed=[str(name) for name in checks["check"][~checks["ok"]]],
    )


def _totals(frames: RunFrames, chosen: Array) -> Totals:
    jobs = frames.jobs
    measured = chosen & ~jobs["warmup"].to_numpy()
    counts = jobs["state"][measured].value_counts()
    finished = measured & ~np.isnan(jobs["finished"].to_numpy())
    settled = int(counts["completed"] + counts["failed"] + counts["removed"] + counts["lost"])
    return Totals(
        added=int(measured.sum()),
        completed=int(counts["completed"]),
        failed=int(counts["failed"]),
        unfinished=int(measured.sum()) - settled,
        removed=int(counts["removed"]),
        lost=int((jobs["state"][chosen] == "lost").sum()),
        attempts=int(jobs["attempts"].to_numpy()[measured].sum()),
        retries=_retries(frames, measured),
        waiting=Spread.of(jobs["waiting"].to_numpy()[measured]),
        latency=Spread.of(jobs["latency"].to_numpy()[finished]),
        service=Spread.of(jobs["service"].to_numpy()[finished]),
    )


def _retries(frames: RunFrames, measured: Array) -> int:
    retried = frames.attempts["job"].to_numpy()[(frames.attempts["outcome"] == "retried").to_numpy()]
    return int(np.append(measured, False)[_rows(frames, retried)].sum())


def _rows(frames: RunFrames, numbers: Array) -> Array:
    return rows_of(frames.jobs["job"].to_numpy(), numbers)


def _attempts(frames: RunFrames, measured: Array) -> tuple[dict[str, int], dict[str, int]]:
    attempts = frames.attempts
    counted = np.append(measured, False)[_rows(frames, attempts["job"].to_numpy())]
    return tuple(  # type: ignore[return-value]
        {str(name): int(count) for name, count in attempts[column][counted].value_counts(sort=False).items() if count}
        for column in ("outcome", "category")
    )


def limiter_use(frames: RunFrames) -> LimiterUse | None:
    """How far the rate limiter was used in the measured time; None without one."""
    facts = frames.facts
    if facts.limiter is None:
        return None
    windows = frames.limiter[frames.limiter["opened"] >= facts.warmup]
    return LimiterUse(
        max=facts.limiter[0],
        duration=facts.limiter[1],
        windows=len(windows),
        full=int((windows["starts"] >= windows["max"]).sum()),
        time_limited=float(windows["time_limited"].sum()),
    )
