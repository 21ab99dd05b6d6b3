"""Analysis: what a result's frames come to, one question a method."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from queuesim.results.levels import Array, Level, active, backlog, delayed
from queuesim.results.little import Little, littles_law
from queuesim.results.recording import RunFrames, rows_of
from queuesim.results.summary import LimiterUse, limiter_use
from queuesim.results.timeline import bin_edges, count_in_bins
from queuesim.results.top_errors import errors_frame, errors_of_result

COLUMNS = (
    *("batch", "origin", "began", "ended", "jobs", "first_started", "half_done", "drained", "to_drain", "rate"),
    *("backlog_before", "backlog_peak", "others", "others_p95", "next_began_before_drained"),
)
SHARES = (0.5, 0.95, 0.99)
DURATIONS = ("latency", "waiting", "service")


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that came together."""

    origin: str
    began: float
    ended: float
    own: Array
    """A mask over the jobs."""


@dataclass(frozen=True, slots=True)
class LimiterCost(LimiterUse):
    """What the limiter allowed, and what was lost to it, in the measured time."""

    used: float
    """Starts over those that the windows allowed; NaN without a window."""
    blocked: float
    """Of the time in which no start was left, seconds in which a job waited and a slot was free: only the limiter took
    them."""
    slot_seconds: float
    """Seconds times slots that idled then, though there were jobs for them."""
    job_seconds: float
    """Seconds that jobs waited while no start was left, summed over the jobs."""
    capacity: float
    """Jobs per second that it lets through at most, each attempt counted as a start."""

    @property
    def shut(self) -> float:
        """Seconds in which no start was left: `time_limited` by its older name."""
        return self.time_limited


class Analysis:
    """Answers about a result, as pandas frames or small records.

    Durations are seconds. Jobs of the warm-up are left out, and what is averaged over time is averaged over the time
    after it, except where a method says that it covers the whole run. Where nothing happened the frames are empty and
    the numbers NaN.
    """

    def __init__(self, frames: RunFrames) -> None:
        self._frames = frames

    def percentiles(
        self,
        of: str = "latency",
        by: str | None = None,
        percents: Sequence[float] = (50, 90, 95, 99, 99.9),
    ) -> pd.DataFrame:
        """How `latency`, `waiting` or `service` is spread, in a row for each label of the jobs' column `by`, or one.

        Columns: count, mean, min, one a percentile as p95, max.

        Raises:
            ValueError: there is nothing such to measure, no such column, or a percentile outside 0 to 100.
        """
        jobs = self._frames.jobs
        if of not in DURATIONS:
            raise ValueError(f"there are percentiles of {', '.join(DURATIONS)}, not of {of!r}")
        if by is not None and by not in jobs:
            raise ValueError(f"jobs have no column {by!r}; there are {', '.join(jobs.columns)}")
        if wrong := [percent for percent in percents if not 0 <= percent <= 100]:
            raise ValueError(f"a percentile is a number from 0 to 100, not {wrong[0]:g}")
        measured = ~jobs["warmup"].to_numpy() & jobs[of].notna().to_numpy()
        if of != "waiting":
            measured &= jobs["finished"].notna().to_numpy()
        values = jobs.loc[measured, of]
        if by is None:
            rows = {"all": _percentiles_row(values.to_numpy(), percents)}
            return pd.DataFrame.from_dict(rows, orient="index")
        groups = values.groupby(jobs.loc[measured, by], observed=True)
        rows = {label: _percentiles_row(group.to_numpy(), percents) for label, group in groups}
        columns = list(_percentiles_row(np.zeros(0), percents))
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis(by)

    def occupancy(self, start: float | None = None, end: float | None = None) -> pd.DataFrame:
        """Backlog, active, delayed jobs and utilisation: averages, percentiles and extremes, weighted by time.

        A row each, over [start, end) seconds; without them over the measured time.

        Columns: mean, p50, p95, p99 (at most so much for that share of the time), max,
        max_at (when that was first reached, in seconds), end.
        """
        frames, facts = self._frames, self._frames.facts
        start = facts.warmup if start is None else start
        end = facts.duration if end is None else end
        running = active(frames)
        slots = facts.concurrency or np.nan
        return pd.DataFrame.from_dict(
            {
                "backlog": _occupancy_row(backlog(frames), start, end),
                "active": _occupancy_row(running, start, end),
                "delayed": _occupancy_row(delayed(frames), start, end),
                "utilisation": _occupancy_row(running, start, end, slots),
            },
            orient="index",
        )

    def workers(self) -> pd.DataFrame:
        """What each worker did: a row a worker.

        Columns: slots, attempts (starts of measured jobs), failed (of these, those with an error), busy (seconds in the
        measured time, over all slots, for jobs of the warm-up too), utilisation (busy over its slots and the measured
        time). Of a worker that the scenario does not ask for, or in a result of an older version, `slots` are those
        that it used.
        """
        frames = self._frames
        facts, attempts = frames.facts, frames.attempts
        span = facts.duration - facts.warmup
        # an attempt counts for the part of it that is in the measured time
        ended = attempts["ended"].fillna(facts.duration).clip(facts.warmup, facts.duration)
        busy = ended - attempts["started"].clip(facts.warmup, facts.duration)
        counted = attempts["job"].isin(frames.jobs["job"][~frames.jobs["warmup"]])
        tallied = attempts.assign(busy=busy, measured=counted, error=counted & attempts["error_type"].notna())
        by = tallied.groupby("worker", observed=True)
        used = by["slot"].nunique()
        workers = list(dict.fromkeys((*facts.slots, *map(str, used.index))))
        slots = pd.Series([facts.slots.get(name) or used[name] for name in workers], workers, dtype=np.int64)
        spent = by["busy"].sum().reindex(workers, fill_value=0.0)
        frame = pd.DataFrame(
            {
                "slots": slots,
                "attempts": by["measured"].sum().reindex(workers, fill_value=0),
                "failed": by["error"].sum().reindex(workers, fill_value=0),
                "busy": spent,
                "utilisation": spent / (slots * span) if span > 0 else np.nan,
            }
        )
        return frame.rename_axis("worker")

    def retries(self) -> pd.DataFrame:
        """What retries cost, by category of error: a row a category, and the row `all`.

        Columns: errors (attempts that ended with one), retried (those that were to run again), failed (those that
        failed for good), jobs (that ever had such an error), saved (of these, those that completed in the end),
        amplification (what these retries add to one attempt per job; in the row `all`, attempts per job), service
        (seconds in which slots were busy with attempts that failed so), backoff (seconds that jobs waited for the next
        attempt).
        """
        frames = self._frames
        attempts = frames.attempts[_measured(frames)]
        failed = attempts[attempts["outcome"].isin(["retried", "failed"])]
        started = int((frames.jobs["started"].notna() & ~frames.jobs["warmup"]).sum())
        named = failed.assign(category=failed["category"].cat.add_categories("(none)").fillna("(none)"))
        rows = {
            str(category): _retries_row(frames, group, started)
            for category, group in named.groupby("category", observed=True)
            if len(group)
        }
        frame = pd.DataFrame.from_dict(
            {**rows, "all": _retries_row(frames, failed, started)},
            orient="index",
            columns=list(_retries_row(frames, failed[:0], 0)),
        ).rename_axis("category")
        frame.loc["all", "amplification"] = len(attempts) / started if started else np.nan
        return frame.sort_values("errors", ascending=False, kind="stable", key=lambda errors: errors)

    def errors(self, warmup: bool = False) -> pd.DataFrame:
        """The errors of attempts, the most frequent first: a row for each job type, error type and message.

        Columns: error_type, category, name (the job type), message (numbers and ids in it that differ are replaced by
        an ellipsis), count (attempts), jobs (different ones), failed (attempts after which the job failed for good),
        first (when the first of these attempts ended, in seconds). An attempt that lost its job's lock and left no
        error has the type "lost attempt". With `warmup` jobs of the warm-up count too.
        """
        return errors_frame(errors_of_result(self._frames, warmup))

    def retries_over_time(self, every: str | float = "1m") -> pd.DataFrame:
        """Retry amplification in each bin of time, and what was retried by category: of the whole run.

        The index is the start of each bin in seconds; columns: first (first attempts started), again (later ones),
        amplification (attempts started per first attempt; NaN without one), and one for each category of error that was
        retried: attempts that failed so in the bin and were to run again.
        """
        frames = self._frames
        attempts = frames.attempts
        edges = bin_edges(frames.facts.duration, every)
        started, first = attempts["started"].to_numpy(), (attempts["attempt"] == 1).to_numpy()
        news, all_starts = count_in_bins(edges, started[first]), count_in_bins(edges, started)
        amplification = np.full(len(news), np.nan)
        np.divide(all_starts, news, out=amplification, where=news > 0)
        retried = attempts[attempts["outcome"] == "retried"]
        by_category = {
            str(category): count_in_bins(edges, group.to_numpy())
            for category, group in retried["ended"].groupby(retried["category"], observed=True)
        }
        return pd.DataFrame(
            {"first": news, "again": all_starts - news, "amplification": amplification, **by_category},
            index=pd.Index(edges[:-1], name="time"),
        )

    def time_to_drain(self, since: float | None = None) -> float:
        """Seconds from a moment until no job waits that could start; without one, from when most did.

        NaN: the run ended before. 0: none waited then.
        """
        frames = self._frames
        level = backlog(frames)
        if since is None:
            since = level.extreme(frames.facts.warmup, frames.facts.duration)[1]
        if math.isnan(since):
            return math.nan
        return drained_at(level, since, frames.facts.duration) - since

    def backlogs(self, least: int | None = None) -> pd.DataFrame:
        """Each time that a backlog built up and drained, in the whole run: a row for each that reached `least` jobs.

        Without `least`, for those that reached a hundredth of the highest, and two jobs.

        Columns, in seconds but `peak`: began, peak_at, peak (jobs), drained (NaN: not before the end of the run),
        build_up (peak_at - began), to_drain (drained - peak_at), job_seconds (that jobs waited in it, summed over
        them).
        """
        frames = self._frames
        level, duration = backlog(frames), frames.facts.duration
        times, values = level.times[1:], level.values[1:]
        waiting = values > 0
        begins = np.flatnonzero(waiting & ~np.append(False, waiting)[:-1])
        rows = []
        for begin, after in zip(begins, [*begins[1:], len(times)], strict=False):
            highest = begin + int(values[begin:after].argmax())
            empty = np.flatnonzero(values[begin:after] == 0)
            drained = float(times[begin + empty[0]]) if len(empty) else math.nan
            until = duration if math.isnan(drained) else drained
            began, peak_at = float(times[begin]), float(times[highest])
            spent = float(level.area(until) - level.area(began))
            peak = int(values[highest])
            rows.append((began, peak_at, peak, drained, peak_at - began, drained - peak_at, spent))
        columns = ["began", "peak_at", "peak", "drained", "build_up", "to_drain", "job_seconds"]
        frame = pd.DataFrame(rows, columns=columns).astype({"peak": np.int64})
        if least is None:
            least = max(2, math.ceil(frame["peak"].max() / 100)) if len(frame) else 0
        return frame[frame["peak"] >= least].reset_index(drop=True)

    def limiter(self) -> LimiterCost | None:
        """How far the rate limiter was used, and what it cost; None without one."""
        frames, use = self._frames, limiter_use(self._frames)
        if use is None:
            return None
        windows = frames.limiter[frames.limiter["opened"] >= frames.facts.warmup]
        closes = np.minimum(windows["closes"].to_numpy(), frames.facts.duration)
        allowed = windows["max"].sum()
        blocked, slots, jobs = _lost(frames, closes - windows["time_limited"].to_numpy(), closes)
        return LimiterCost(
            **dataclasses.asdict(use),
            used=float(windows["starts"].sum() / allowed) if allowed else np.nan,
            blocked=blocked,
            slot_seconds=slots,
            job_seconds=jobs,
            capacity=use.max / use.duration,
        )

    def batches(self, least: int = 10) -> pd.DataFrame:
        """The anatomy of each batch of the whole run: overdue scans, or, without any, `least` jobs or more that came at
        once.

        Columns, times in seconds: batch (its number), origin (what triggered the scan, or the load entry), began, ended
        (the first and the last job were added), jobs, first_started, half_done (half of the jobs had finished), drained
        (all had; NaN: not before the end), to_drain (drained - began), rate (jobs finished per second until then),
        backlog_before, backlog_peak (jobs), others (other jobs that came meanwhile), others_p95 (95th percentile of
        their latency), next_began_before_drained (the next batch came on top of this one).
        """
        frames = self._frames
        level = backlog(frames)
        rows = [
            (number, *_batches_row(frames, level, batch))
            for number, batch in enumerate(find_batches(frames, least), start=1)
        ]
        frame = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
        ends = frame["drained"].fillna(math.inf).to_numpy(dtype=np.float64)
        following = np.append(frame["began"].to_numpy(dtype=np.float64)[1:], math.inf)
        frame[COLUMNS[-1]] = following[: len(frame)] < ends
        return frame

    def littles_law(self) -> Little:
        """L = λW over the whole run, its sides from records that know nothing of each other: events, and attempts."""
        return littles_law(self._frames)

    def __repr__(self) -> str:
        names = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"<Analysis: {', '.join(names)}>"


def find_batches(frames: RunFrames, least: int) -> list[Batch]:
    """The notifications of each overdue scan if there were any, else `least` jobs or more that came at once."""
    return _scans(frames) if len(frames.overdue) else _bulks(frames, least)


def _scans(frames: RunFrames) -> list[Batch]:
    """The notifications of each scan: the jobs of their name that were added while it went on."""
    jobs, added = frames.jobs, frames.jobs["added"].to_numpy()
    scans = frames.overdue
    found = []
    for origin, began, ended in zip(scans["trigger"], scans["began"], scans["ended"], strict=True):
        until = frames.facts.duration if math.isnan(ended) else ended
        during = (added >= began) & (added <= until)
        own = during & (jobs["name"] == _notification(jobs[during])).to_numpy()
        found.append(Batch(str(origin), float(began), float(until), own))
    return found


def _notification(jobs: pd.DataFrame) -> str:
    """The name of the notifications among the jobs that were added during a scan: it speaks of "overdue", or it is the
    most frequent one."""
    names = [str(name) for name, count in jobs["name"].value_counts().items() if count]
    return next((name for name in names if "overdue" in name), names[0] if names else "")


def _bulks(frames: RunFrames, least: int) -> list[Batch]:
    """The jobs of one load entry that were added at one moment, `least` or more."""
    jobs = frames.jobs
    sizes = jobs.groupby(["added", "load"], observed=True)["job"].size().reset_index(name="size")
    sizes = sizes[sizes["size"] >= least]
    added = jobs["added"].to_numpy()
    return [
        Batch(str(load), float(moment), float(moment), (added == moment) & (jobs["load"] == load).to_numpy())
        for moment, load in zip(sizes["added"], sizes["load"], strict=True)
    ]


def _batches_row(frames: RunFrames, level: Level, batch: Batch) -> tuple[object, ...]:
    jobs, began = frames.jobs, batch.began
    count = int(batch.own.sum())
    finished = np.sort(jobs["finished"].to_numpy()[batch.own])
    finished = finished[~np.isnan(finished)]
    half = math.ceil(count / 2)
    drained = float(finished[-1]) if count and len(finished) == count else math.nan
    until = frames.facts.duration if math.isnan(drained) else drained
    started = jobs["started"].to_numpy()[batch.own]
    peak = level.extreme(began, until)[0]
    scheduled = jobs["scheduled"].to_numpy()
    others = ~batch.own & (scheduled >= began) & (scheduled <= until)
    latency = jobs["latency"].to_numpy()[others]
    latency = latency[~np.isnan(latency)]
    return (
        batch.origin,
        began,
        batch.ended,
        count,
        float(np.nanmin(started)) if np.isfinite(started).any() else math.nan,
        float(finished[half - 1]) if 0 < half <= len(finished) else math.nan,
        drained,
        drained - began,
        len(finished) / (until - began) if until > began else math.nan,
        int(level.before(began)),
        0 if math.isnan(peak) else int(peak),
        int(others.sum()),
        float(np.percentile(latency, 95)) if len(latency) else math.nan,
    )


def drained_at(level: Level, since: float, end: float) -> float:
    """When a level is first 0, from `since` on; NaN: not before `end`."""
    if level.at(since) == 0:
        return since
    after = int(np.searchsorted(level.times, since, side="right"))
    empty = np.flatnonzero(level.values[after:] == 0)
    moment = float(level.times[after + empty[0]]) if len(empty) else math.nan
    return moment if moment <= end else math.nan


def _lost(frames: RunFrames, begins: Array, ends: Array) -> tuple[float, float, float]:
    """Over intervals that follow one another: seconds in which jobs and slots were both there, the integral of the
    lesser of both, and the integral of the backlog."""
    waiting, running = backlog(frames), active(frames)
    moments = np.unique(np.concatenate((waiting.times[1:], running.times[1:], begins, ends)))
    if len(moments) < 2 or not len(begins):
        return 0.0, 0.0, 0.0
    middle = moments[:-1]
    # the intervals are in order: the last that began decides whether a moment is in one
    place = np.searchsorted(begins, middle, side="right") - 1
    inside = (place >= 0) & (middle < ends[np.maximum(place, 0)])
    widths = np.where(inside, np.diff(moments), 0.0)
    jobs = waiting.at(middle)
    lost = np.minimum(jobs, np.maximum(frames.facts.concurrency - running.at(middle), 0))
    return float(widths[lost > 0].sum()), float((widths * lost).sum()), float((widths * jobs).sum())


def _occupancy_row(level: Level, start: float, end: float, unit: float = 1.0) -> dict[str, float]:
    highest, at = level.extreme(start, end)
    spread = level.quantiles(start, end, SHARES)
    return {
        "mean": level.mean(start, end) / unit,
        **{f"p{share * 100:g}": value / unit for share, value in zip(SHARES, spread, strict=True)},
        "max": highest / unit,
        "max_at": at,
        "end": float(level.at(end)) / unit if end > start else np.nan,
    }


def _percentiles_row(values: np.ndarray, percents: Sequence[float]) -> dict[str, float]:
    if not len(values):
        return {"count": 0, "mean": np.nan, "min": np.nan, **{f"p{p:g}": np.nan for p in percents}, "max": np.nan}
    found = np.percentile(values, list(percents)) if percents else []
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "min": float(values.min()),
        **{f"p{percent:g}": float(value) for percent, value in zip(percents, found, strict=True)},
        "max": float(values.max()),
    }


def _retries_row(frames: RunFrames, failed: pd.DataFrame, started: int) -> dict[str, float]:
    retried = failed[failed["outcome"] == "retried"]
    numbers = np.unique(failed["job"].to_numpy())
    states = frames.jobs["state"].to_numpy()[rows_of(frames.jobs["job"].to_numpy(), numbers)]
    return {
        "errors": len(failed),
        "retried": len(retried),
        "failed": len(failed) - len(retried),
        "jobs": len(numbers),
        "saved": int((states == "completed").sum()),
        "amplification": len(retried) / started if started else np.nan,
        "service": float(failed["service"].sum()),
        "backoff": float(retried["backoff"].sum()),
    }


def _measured(frames: RunFrames) -> Array:
    """The attempts of jobs that are not of the warm-up."""
    jobs, attempts = frames.jobs, frames.attempts
    measured: Array = np.append(~jobs["warmup"].to_numpy(), False)
    return measured[rows_of(jobs["job"].to_numpy(), attempts["job"].to_numpy())]
