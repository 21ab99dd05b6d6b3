"""Observations of runs, simulated or recorded, and their comparison."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from queuesim.core.job import Backoff
from queuesim.error import QueuesimError

if TYPE_CHECKING:
    import pandas as pd

    from queuesim.results.result import Result


Array = npt.NDArray[np.float64]

JOB_COLUMNS = ("k", "added_ms", "delay_ms", "state", "finished_on_ms")
ATTEMPT_COLUMNS = ("k", "attempt", "started_ms", "ended_ms", "outcome")


class RecordingError(QueuesimError):
    """A directory is not a recording, or an incomplete one."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What two runs must have in common to be compared. Times are seconds since the run began.

    Jobs are counted from 0 in order of adding, so that a replay's jobs are the recording's.
    """

    name: str
    added: Array
    """A value a job."""
    ready: Array
    """When a job could first start."""
    finished: Array
    """NaN: it did not."""
    state: npt.NDArray[np.str_]
    """ "completed", "failed", or where the job was left."""
    job: npt.NDArray[np.int64]
    """A value an attempt, in order of their starts: whose it is."""
    attempt: npt.NDArray[np.int64]
    """From 1."""
    due: Array
    """When the attempt could start: for a first one, when its job could; for any other, when its backoff was over."""
    started: Array
    ended: Array
    """NaN: it did not."""
    outcome: npt.NDArray[np.str_]
    """ "ok", the category of the error in lower case, or "" if the attempt did not end."""
    limiter: tuple[int, float] | None = None
    """(max, duration in seconds)."""
    service: Array | None = None
    """Seconds that each job's attempts were meant to take, where that is known."""

    @property
    def waiting(self) -> Array:
        """Seconds from when each job could start until its first start; jobs that never started are left out."""
        first = self.attempt == 1
        waiting: Array = self.started[first] - self.ready[self.job[first]]
        return waiting

    @property
    def latency(self) -> Array:
        """Seconds from when each job could first start until it finished; unfinished jobs are left out."""
        done = ~np.isnan(self.finished)
        latency: Array = self.finished[done] - self.ready[done]
        return latency

    @property
    def throughput(self) -> float:
        """Finished jobs per second, from the first job added to the last one finished."""
        done = ~np.isnan(self.finished)
        if not done.any():
            return 0.0
        return float(done.sum() / (self.finished[done].max() - self.added.min()))

    def window_starts(self) -> npt.NDArray[np.int64]:
        """Starts in each limiter window. A window opens at the first start after the last one closed (BullMQ 6.7)."""
        if self.limiter is None:
            return np.zeros(0, np.int64)
        starts, duration = np.sort(self.started), self.limiter[1]
        counts, i = [], 0
        while i < len(starts):
            end = int(np.searchsorted(starts, starts[i] + duration, side="left"))
            counts.append(end - i)
            i = end
        return np.array(counts, np.int64)


def of_result(result: Result) -> Observation:
    """A simulated (or live) run. Its warm-up counts too: a recording has none."""
    jobs, attempts = result.jobs.sort_values("job"), result.attempts.sort_values(["started", "job"])
    numbers = jobs["job"].to_numpy()
    ok = attempts["outcome"].astype(str).to_numpy() == "ok"
    ended = ~attempts["ended"].isna().to_numpy()
    category = np.char.lower(attempts["category"].astype(object).fillna("").to_numpy().astype(str))
    return Observation(
        name=result.facts.scenario,
        added=jobs["added"].to_numpy(),
        ready=(jobs["scheduled"] + jobs["delay"]).to_numpy(),
        finished=jobs["finished"].to_numpy(),
        state=jobs["state"].astype(str).to_numpy().astype(np.str_),
        job=np.searchsorted(numbers, attempts["job"].to_numpy()).astype(np.int64),
        attempt=attempts["attempt"].to_numpy().astype(np.int64),
        due=attempts["ready"].to_numpy(),
        started=attempts["started"].to_numpy(),
        ended=attempts["ended"].to_numpy(),
        outcome=np.where(ok, "ok", np.where(ended, category, "")).astype(np.str_),
        limiter=result.facts.limiter,
    )


def of_recording(directory: str | Path) -> Observation:
    """A recorded run: a directory with jobs.csv, attempts.csv and config.json (see scenarios/traces/README.md).

    Raises:
        RecordingError: a file or a column is missing, or is not what it should be.
    """
    path = Path(directory)
    jobs = _read(path / "jobs.csv", JOB_COLUMNS).sort_values(["added_ms", "k"], kind="stable")
    attempts = _read(path / "attempts.csv", ATTEMPT_COLUMNS).sort_values(["started_ms", "k"], kind="stable")
    position = {k: i for i, k in enumerate(jobs["k"])}
    unknown = sorted(set(attempts["k"]) - set(position))
    if unknown:
        raise RecordingError(f"{path / 'attempts.csv'}: attempts of jobs that jobs.csv lacks: {unknown[:5]}")
    added = jobs["added_ms"].to_numpy(np.float64) / 1000
    config = read_config(path / "config.json")
    limiter = config.get("limiter")
    job = np.array([position[k] for k in attempts["k"]], np.int64)
    ready = added + jobs["delay_ms"].to_numpy(np.float64) / 1000
    return Observation(
        name=path.name,
        added=added,
        ready=ready,
        finished=jobs["finished_on_ms"].to_numpy(np.float64) / 1000,
        state=jobs["state"].astype(str).to_numpy().astype(np.str_),
        job=job,
        attempt=attempts["attempt"].to_numpy(np.int64),
        due=_due(attempts, job, ready, Backoff(**_backoff(config))),
        started=attempts["started_ms"].to_numpy(np.float64) / 1000,
        ended=attempts["ended_ms"].to_numpy(np.float64) / 1000,
        outcome=attempts["outcome"].fillna("").astype(str).to_numpy().astype(np.str_),
        limiter=None if not limiter else (int(limiter["max"]), limiter["duration"] / 1000),
        service=jobs["service_ms"].to_numpy(np.float64) / 1000 if "service_ms" in jobs else None,
    )


def _due(attempts: pd.DataFrame, job: npt.NDArray[np.int64], ready: Array, backoff: Backoff) -> Array:
    """When each attempt could start: after the one before had ended, and its backoff was over."""
    due = ready[job].copy()
    ended: dict[tuple[int, int], float] = {}
    numbers = attempts["attempt"].to_numpy()
    for i, end in enumerate(attempts["ended_ms"].to_numpy(np.float64) / 1000):
        ended[int(job[i]), int(numbers[i])] = end
        if numbers[i] > 1:
            before = int(numbers[i]) - 1
            due[i] = ended.get((int(job[i]), before), np.nan) + backoff.base(before)
    return due


def _backoff(config: dict[str, Any]) -> dict[str, Any]:
    given = config.get("backoff") or {}
    return {"type": given.get("type", "fixed"), "delay": given.get("delay", 0) / 1000}


def is_recording(directory: str | Path) -> bool:
    """Whether a directory looks like a recording."""
    return (Path(directory) / "attempts.csv").is_file()


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: can't be read: {error}") from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise RecordingError(f"{path}: no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return frame


def read_config(path: Path) -> dict[str, Any]:
    """The recorded queue's and worker's options. Raises RecordingError."""
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: can't be read: {error}") from None
    if not isinstance(config, dict):
        raise RecordingError(f"{path}: not a JSON object")
    return config


# -- Two runs side by side: waits, outcomes and limiter windows


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of both runs."""

    name: str
    unit: str
    """ "s", "per s" or "" for a count."""
    first: float
    second: float

    @property
    def difference(self) -> float:
        """How far the first is off the second, as a fraction of the second; NaN if that is 0 and the first is not."""
        if self.first == self.second:
            return 0.0
        return (self.first - self.second) / self.second if self.second else math.nan


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common and what not."""

    first: str
    second: str
    rows: tuple[Row, ...]
    attempts_compared: int
    """Attempts of either run, each known by its job and its number."""
    attempts_differing: tuple[str, ...]
    """Those that only one run has, or that ended differently: in words."""
    states_differing: tuple[str, ...]
    """Jobs that ended in another state."""

    @property
    def identical(self) -> bool:
        """Whether every attempt and every job ended the same way in both."""
        return not self.attempts_differing and not self.states_differing

    def row(self, name: str) -> Row:
        """A quantity by its name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def _repr_html_(self) -> str:
        from queuesim.results.markup import html_table

        rows = ((row.name, row.unit, row.first, row.second, f"{row.difference:+.2%}") for row in self.rows)
        return html_table(("", "unit", self.first, self.second, "difference"), rows)

    def within(self, tolerance: float) -> bool:
        """Whether mean and 95th percentile of the waiting time are within this fraction of the second run's."""
        return all(abs(self.row(name).difference) <= tolerance for name in ("waiting mean", "waiting p95"))


def compare(first: Result | Observation, second: Result | Observation) -> Comparison:
    """Put `first`, say a simulation, beside `second`, say a recording. Jobs are matched by their order of adding.

    Args:
        first: a result, or an observation of a queue elsewhere (`queuesim.recordings.compare.of_recording`).
        second: the same; the differences are fractions of this one.
    """
    first, second = _observed(first), _observed(second)
    return Comparison(
        first.name,
        second.name,
        tuple(_rows(first, second)),
        len(set(_attempts(first)) | set(_attempts(second))),
        tuple(_differing_attempts(first, second)),
        tuple(_differing_states(first, second)),
    )


def _observed(run: Result | Observation) -> Observation:
    return run if isinstance(run, Observation) else of_result(run)


def _rows(first: Observation, second: Observation) -> list[Row]:
    def row(name: str, unit: str, value: Callable[[Observation], float]) -> Row:
        return Row(name, unit, value(first), value(second))

    rows = [
        row("jobs", "", lambda run: len(run.added)),
        row("completed", "", lambda run: int((run.state == "completed").sum())),
        row("failed", "", lambda run: int((run.state == "failed").sum())),
        row("attempts", "", lambda run: len(run.job)),
    ]
    rows += [
        row(f"attempts: {outcome}", "", lambda run, o=outcome: int((run.outcome == o).sum()))  # type: ignore[misc]
        for outcome in sorted({*first.outcome, *second.outcome})
    ]
    for name in ("waiting", "latency"):
        rows.append(row(f"{name} mean", "s", lambda run, n=name: _mean(getattr(run, n))))  # type: ignore[misc]
        rows.append(row(f"{name} p95", "s", lambda run, n=name: _p95(getattr(run, n))))  # type: ignore[misc]
    rows.append(row("throughput", "per s", lambda run: run.throughput))
    if first.limiter is not None or second.limiter is not None:
        rows.append(row("limiter windows", "", lambda run: len(run.window_starts())))
        rows.append(row("windows used up", "", _full_windows))
        rows.append(row("starts in a window, mean", "", lambda run: _mean(run.window_starts().astype(np.float64))))
        rows.append(row("starts in a window, most", "", lambda run: max(run.window_starts(), default=0)))
    return rows


def _full_windows(run: Observation) -> float:
    return 0 if run.limiter is None else int((run.window_starts() >= run.limiter[0]).sum())


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan


def _p95(values: Array) -> float:
    return float(np.percentile(values, 95)) if len(values) else math.nan


def _attempts(run: Observation) -> dict[tuple[int, int], str]:
    return {(int(j), int(n)): str(o) for j, n, o in zip(run.job, run.attempt, run.outcome, strict=True)}


def _differing_attempts(first: Observation, second: Observation) -> list[str]:
    ours, theirs = _attempts(first), _attempts(second)
    return [
        f"job {job} attempt {number}: {ours.get((job, number), 'none')}, not {theirs.get((job, number), 'none')}"
        for job, number in sorted(set(ours) | set(theirs))
        if ours.get((job, number)) != theirs.get((job, number))
    ]


def _differing_states(first: Observation, second: Observation) -> list[str]:
    if len(first.state) != len(second.state):
        counts = [Counter(map(str, run.state)) for run in (first, second)]
        return [f"{len(first.state)} jobs, not {len(second.state)}: {dict(counts[0])}, not {dict(counts[1])}"]
    return [
        f"job {job}: {ours}, not {theirs}"
        for job, (ours, theirs) in enumerate(zip(first.state, second.state, strict=True))
        if ours != theirs
    ]
