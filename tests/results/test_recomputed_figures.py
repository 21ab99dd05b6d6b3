"""Figures of six different runs, worked out a second time by plain pandas, and compared one by one.

Nothing here calls what it checks: the arithmetic reads frames alone, and is written as simply as it can be. Text is
read back as numbers, to the digits that it shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

import queuesim
from queuesim.results.result import Result
from queuesim.results.views import digest

COMPARED = 800
"""So many figures are compared at least."""
JOBS: dict[str, Any] = {
    "fast": {"weight": 60, "service": {"exponential": "300ms"}},
    "flaky": {"weight": 25, "service": "500ms", "errors": {"network": 0.4, "validation": 0.05}},
    "later": {"weight": 15, "service": {"exponential": "1s"}, "delay": "7s", "priority": 3},
}
COMMON: dict[str, Any] = {
    "name": "figures",
    "seed": 11,
    "duration": "6m",
    "queue": {"attempts": 3, "backoff": {"type": "exponential", "delay": "2s"}},
    "workers": {"count": 2, "concurrency": 2},
    "jobs": JOBS,
    "load": [
        {"name": "users", "poisson": "2/s"}, {"name": "batch", "bulk": {"every": "3m", "offset": "1m", "size": 60}},
    ],
    "thresholds": [
        "lost == 0", "completed >= 1", "retries < 1000000", "success_rate > 0.1", "throughput > 0.01/s",
        "retry_amplification < 3", "utilisation <= 1", {"latency": "p95 < 10h"}, {"waiting": "mean < 10h"},
        {"service": "max < 10h"}, {"backlog": "max < 100000"}, {"backlog": "mean < 100000"}, {"active": "max < 100"},
        {"latency": "median < 10h", "where": {"job": "flaky"}}, {"waiting": "p99 < 10h", "where": {"load": "batch"}},
    ],
}  # fmt: skip
LIMITED = {"count": 2, "concurrency": 2, "limiter": {"max": 60, "duration": "20s"}}
FAULTS = [
    {"worker.crash": {"at": "90s", "restart": "15s", "worker": "worker-1"}},
    {"redis.outage": {"at": "200s", "for": "20s"}},
    {"handler.slow": {"at": "250s", "for": "30s", "probability": 0.5, "delay": "2s"}},
]
RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": (COMMON, "sim"),
    "warm-up": ({**COMMON, "warmup": "100s", "workers": {"count": 3, "concurrency": 5}}, "sim"),
    "limiter and retries": ({**COMMON, "warmup": "30s", "workers": LIMITED, "drain": True}, "sim"),
    "overdue": ({**COMMON, "overdue": {"every": "2m", "page_size": 20, "tasks": 150}, "drain": True}, "sim"),
    "faults": ({**COMMON, "faults": FAULTS}, "sim"),
    "fakeredis": ({**COMMON, "duration": "3m", "warmup": "20s", "workers": LIMITED}, "fakeredis"),
}
Figures = Iterator[tuple[str, float, float]]
"""Name, what the product says, what is right."""


# -- levels, by brute force


class Steps:
    """A number of intervals that hold, from their beginnings until just before their ends."""

    def __init__(self, up: Any, down: Any) -> None:
        frame = pd.DataFrame({"up": np.asarray(up, float), "down": np.asarray(down, float)}).dropna(subset="up")
        self.up, self.down = frame["up"], frame["down"].fillna(math.inf)
        self._begun, self._over = np.sort(self.up), np.sort(self.down)

    def at(self, time: Any) -> Any:
        return np.searchsorted(self._begun, time, side="right") - np.searchsorted(self._over, time, side="right")

    def before(self, time: float) -> int:
        return int(((self.up < time) & (self.down >= time)).sum())

    def area(self, start: float, end: float) -> float:
        held = self.down.clip(upper=end) - self.up.clip(lower=start)
        return float(held.clip(lower=0).sum())

    def mean(self, start: float, end: float) -> float:
        return self.area(start, end) / (end - start)

    def moments(self, start: float, end: float) -> list[float]:
        times = pd.concat([self.up, self.down])
        return sorted({start, *times[(times > start) & (times < end)]})

    def series(self, start: float, end: float) -> pd.Series[int]:
        moments = self.moments(start, end)
        return pd.Series(self.at(np.array(moments)), index=moments)


def waiting_level(result: Result) -> Steps:
    attempts, jobs = result.attempts[result.attempts["started"].notna()], result.jobs
    up, down = [attempts[["ready", "started"]].min(axis=1)], [attempts["started"]]
    last = attempts.sort_values("started", kind="stable").groupby("job").last()
    pending = jobs[jobs["state"].isin(["waiting", "prioritized", "delayed"])].set_index("job")
    again = last["ended"] + last["backoff"].fillna(0)
    since = again.reindex(pending.index).fillna(pending["ready"])
    since = since.where(pending.index.isin(last.index), pending["ready"])
    up.append(since.dropna())
    down.append(pd.Series(math.inf, index=since.dropna().index))
    return Steps(pd.concat(up), pd.concat(down))


def running_level(result: Result) -> Steps:
    attempts = result.attempts[result.attempts["started"].notna()]
    return Steps(attempts["started"], attempts["ended"])


def delayed_level(result: Result) -> Steps:
    late = result.jobs[result.jobs["delay"] > 0]
    again = result.attempts[result.attempts["backoff"] > 0]
    return Steps(
        pd.concat([late[["added", "ready"]].min(axis=1), again["ended"]]),
        pd.concat([late["ready"], again["ended"] + again["backoff"]]),
    )


# -- what is compared


def measured_jobs(result: Result) -> pd.DataFrame:
    return result.jobs[result.jobs["scheduled"] >= result.facts.warmup]


def spread(values: pd.Series[float]) -> dict[str, float]:
    values = values.dropna()
    quantiles = {f"p{percent}": values.quantile(percent / 100) for percent in (50, 95, 99)}
    return {"count": len(values), "mean": values.mean(), **quantiles, "max": values.max()}


def totals(result: Result, jobs: pd.DataFrame, everything: pd.DataFrame) -> dict[str, float]:
    attempts = result.attempts[result.attempts["job"].isin(jobs["job"])]
    count = jobs["state"].astype(str).value_counts()
    done = {name: float(count.get(name, 0)) for name in ("completed", "failed", "removed", "lost")}
    finished = done["completed"] + done["failed"]
    started = jobs["started"].notna().sum()
    figures = {
        **done,
        "added": len(jobs),
        "unfinished": len(jobs) - sum(done.values()),
        "lost": (everything["state"] == "lost").sum(),
        "attempts": len(attempts),
        "retries": (attempts["outcome"] == "retried").sum(),
        "success_rate": done["completed"] / finished if finished else math.nan,
        "retry_amplification": len(attempts) / started if started else math.nan,
    }
    ended = jobs[jobs["finished"].notna()]
    for name, values in (("waiting", jobs["waiting"]), ("latency", ended["latency"]), ("service", ended["service"])):
        figures |= {f"{name}.{key}": value for key, value in spread(values).items()}
    return figures


def summary_figures(result: Result) -> Figures:
    facts, summary, jobs = result.facts, result.summary(), measured_jobs(result)
    rows = [("all", summary.jobs, jobs, result.jobs)]
    for name, told in summary.by_name.items():
        rows.append((name, told, jobs[jobs["name"] == name], result.jobs[result.jobs["name"] == name]))
    for name, told, mine, everything in rows:
        for key, right in totals(result, mine, everything).items():
            value: Any = told
            for part in key.split("."):
                value = getattr(value, part)
            yield f"{name}: {key}", value, right
    span = facts.duration - facts.warmup
    completed = result.jobs[(result.jobs["state"] == "completed") & (result.jobs["finished"] >= facts.warmup)]
    yield "throughput", summary.throughput, len(completed) / span
    running, waiting = running_level(result), waiting_level(result)
    yield "utilisation", summary.utilisation, running.mean(facts.warmup, facts.duration) / facts.concurrency
    backlog = waiting.series(facts.warmup, facts.duration)
    yield "backlog mean", summary.backlog_mean, waiting.mean(facts.warmup, facts.duration)
    yield "backlog max", summary.backlog_max, backlog.max()
    yield "backlog max at", summary.backlog_max_at, backlog.idxmax()
    yield "backlog end", summary.backlog_end, waiting.at(facts.duration)
    attempts = result.attempts[result.attempts["job"].isin(jobs["job"])]
    for column, told in (("outcome", summary.outcomes), ("category", summary.errors)):
        right = attempts[column].dropna().astype(str).value_counts()
        assert set(told) == set(right.index)
        for name, number in right.items():
            yield f"{column} {name}", told[str(name)], number
    if summary.limiter is not None:
        windows = result.limiter[result.limiter["opened"] >= facts.warmup]
        yield "windows", summary.limiter.windows, len(windows)
        yield "full windows", summary.limiter.full, (windows["starts"] >= windows["max"]).sum()
        yield "time limited", summary.limiter.time_limited, shut_spans(result).sum(axis=1).sum()


def shut_spans(result: Result) -> pd.DataFrame:
    """For each measured window minus the moment at which it was used up, and its close, or the end of the run."""
    starts, rows = result.attempts["started"].sort_values(), []
    for window in result.limiter[result.limiter["opened"] >= result.facts.warmup].itertuples():
        inside = starts[(starts >= window.opened) & (starts < window.closes)]
        if len(inside) >= window.max:
            used_up, closes = inside.iloc[int(window.max) - 1], min(window.closes, result.facts.duration)
            if closes > used_up:
                rows.append((-used_up, closes))
    return pd.DataFrame(rows, columns=["begins", "ends"], dtype=float)


def timeline_figures(result: Result) -> Figures:
    width, duration = 20.0, result.facts.duration
    bins, jobs, attempts = result.timeline(width), result.jobs, result.attempts
    waiting, running, delayed = waiting_level(result), running_level(result), delayed_level(result)
    edges = [*np.arange(0.0, duration - 1e-6, width), duration]
    assert list(bins.index) == edges[:-1]
    for start, end in pairwise(edges):
        last = end == duration

        def among(times: pd.Series[float], start: float = start, end: float = end, last: bool = last) -> Any:
            return (times >= start) & ((times <= end) if last else (times < end))

        ended = jobs[among(jobs["finished"])]
        right = {
            "added": among(jobs["added"]).sum(),
            "started": among(attempts["started"]).sum(),
            "completed": (ended["state"] == "completed").sum(),
            "failed": (ended["state"] == "failed").sum(),
            "retried": (among(attempts["ended"]) & (attempts["outcome"] == "retried")).sum(),
            "throughput": (ended["state"] == "completed").sum() / (end - start),
            "backlog": waiting.mean(start, end),
            "backlog_end": waiting.at(end),
            "active": running.mean(start, end),
            "utilisation": running.mean(start, end) / result.facts.concurrency,
            "delayed": delayed.mean(start, end),
            "waiting_p50": ended["waiting"].quantile(0.5),
            "waiting_p95": ended["waiting"].quantile(0.95),
            "latency_p95": ended["latency"].quantile(0.95),
        }
        for column, value in right.items():
            yield f"timeline {column} at {start:g}", bins.loc[start, column], value


def analysis_figures(result: Result) -> Figures:
    facts, analysis, jobs = result.facts, result.analysis, measured_jobs(result)
    waiting, running = waiting_level(result), running_level(result)
    backlog = waiting.series(facts.warmup, facts.duration)
    peak = float(backlog.idxmax())
    later = backlog[(backlog.index >= peak) & (backlog == 0)]
    drained = later.index[0] - peak if len(later) else 0.0 if backlog.max() == 0 else math.nan
    yield "time to drain", analysis.time_to_drain(), drained
    yield from _percentiles(result, jobs)
    yield from _retries(result, jobs)
    occupancy = analysis.occupancy()
    for name, level in (("backlog", waiting), ("active", running), ("delayed", delayed_level(result))):
        series = level.series(facts.warmup, facts.duration)
        widths = np.diff([*series.index, facts.duration])
        held = pd.Series(widths).groupby(series.to_numpy()).sum().cumsum() / widths.sum()
        yield f"{name} mean", occupancy.loc[name, "mean"], level.mean(facts.warmup, facts.duration)
        yield f"{name} max", occupancy.loc[name, "max"], series.max()
        yield f"{name} max at", occupancy.loc[name, "max_at"], series.idxmax()
        yield f"{name} end", occupancy.loc[name, "end"], level.at(facts.duration)
        for percent in (50, 95, 99):
            yield f"{name} p{percent}", occupancy.loc[name, f"p{percent}"], held[held >= percent / 100 - 1e-12].index[0]
    for worker, row in analysis.workers().iterrows():
        mine = result.attempts[result.attempts["worker"] == worker]
        busy = Steps(mine["started"], mine["ended"]).area(facts.warmup, facts.duration)
        counted = mine[mine["job"].isin(jobs["job"])]
        yield f"{worker} attempts", row["attempts"], len(counted)
        yield f"{worker} failed", row["failed"], counted["error_type"].notna().sum()
        yield f"{worker} busy", row["busy"], busy
        slots = facts.concurrency / facts.workers
        yield f"{worker} utilisation", row["utilisation"], busy / slots / (facts.duration - facts.warmup)
    yield from _batches(result, waiting)
    yield from _limiter(result, waiting, running)


def _percentiles(result: Result, jobs: pd.DataFrame) -> Figures:
    for of in ("latency", "waiting", "service"):
        chosen = jobs if of == "waiting" else jobs[jobs["finished"].notna()]
        frame = result.analysis.percentiles(of, by="name")
        for name, row in frame.iterrows():
            values = chosen.loc[chosen["name"] == name, of].dropna()
            right = {"count": len(values), "mean": values.mean(), "min": values.min(), "max": values.max()}
            right |= {f"p{percent:g}": values.quantile(percent / 100) for percent in (50, 90, 95, 99, 99.9)}
            for key, value in right.items():
                yield f"{of} of {name} {key}", row[key], value


def _retries(result: Result, jobs: pd.DataFrame) -> Figures:
    attempts = result.attempts[result.attempts["job"].isin(jobs["job"])]
    failed = attempts[attempts["outcome"].isin(["retried", "failed"])]
    started = jobs["started"].notna().sum()
    completed = jobs.loc[jobs["state"] == "completed", "job"]
    told = result.analysis.retries()
    for category, group in (*failed.groupby("category", observed=True), ("all", failed)):
        again = group[group["outcome"] == "retried"]
        right = {
            "errors": len(group),
            "retried": len(again),
            "failed": len(group) - len(again),
            "jobs": group["job"].nunique(),
            "saved": group["job"].drop_duplicates().isin(completed).sum(),
            "amplification": len(again) / started if category != "all" else len(attempts) / started,
            "service": (group["ended"] - group["started"]).sum(),
            "backoff": again["backoff"].sum(),
        }
        for key, value in right.items():
            yield f"retries {category} {key}", told.loc[category, key], value
    over_time = result.analysis.retries_over_time("1m")
    for start, row in over_time.iterrows():
        end = min(float(start) + 60.0, result.facts.duration)
        times = result.attempts["started"]
        here = result.attempts[(times >= start) & ((times < end) | (times == result.facts.duration))]
        first = (here["attempt"] == 1).sum()
        yield f"first starts at {start:g}", row["first"], first
        yield f"later starts at {start:g}", row["again"], len(here) - first
        yield f"amplification at {start:g}", row["amplification"], len(here) / first if first else math.nan


def _batches(result: Result, waiting: Steps) -> Figures:
    jobs, duration = result.jobs, result.facts.duration
    for row in result.analysis.batches().itertuples():
        if len(result.overdue):
            own = jobs["added"].between(row.began, row.ended) & jobs["name"].str.contains("overdue")
        else:
            own = (jobs["added"] == row.began) & (jobs["load"] == row.origin)
        mine = jobs[own]
        finished = mine["finished"].dropna().sort_values()
        drained = finished.max() if len(finished) == len(mine) and len(mine) else math.nan
        until = duration if math.isnan(drained) else drained
        others = jobs[~own & jobs["scheduled"].between(row.began, until)]
        half = math.ceil(len(mine) / 2)
        right = {
            "jobs": len(mine),
            "first_started": mine["started"].min(),
            "half_done": finished.iloc[half - 1] if 0 < half <= len(finished) else math.nan,
            "drained": drained,
            "to_drain": drained - row.began,
            "rate": len(finished) / (until - row.began) if until > row.began else math.nan,
            "backlog_before": waiting.before(row.began),
            "backlog_peak": waiting.series(row.began, until).max() if until > row.began else 0,
            "others": len(others),
            "others_p95": others["latency"].quantile(0.95),
        }
        for key, value in right.items():
            yield f"batch {row.batch} {key}", getattr(row, key), value


def _limiter(result: Result, waiting: Steps, running: Steps) -> Figures:
    cost, facts = result.analysis.limiter(), result.facts
    if cost is None:
        return
    windows = result.limiter[result.limiter["opened"] >= facts.warmup]
    shut = shut_spans(result)
    blocked = slot_seconds = job_seconds = 0.0
    for begins, ends in zip(-shut["begins"], shut["ends"], strict=True):
        moments = [*sorted({*waiting.moments(begins, ends), *running.moments(begins, ends)}), ends]
        for start, end in pairwise(moments):
            jobs, free = waiting.at(start), max(facts.concurrency - running.at(start), 0)
            blocked += (end - start) * (min(jobs, free) > 0)
            slot_seconds += (end - start) * min(jobs, free)
            job_seconds += (end - start) * jobs
    yield "limiter windows", cost.windows, len(windows)
    yield "limiter full", cost.full, (windows["starts"] >= windows["max"]).sum()
    yield "limiter used", cost.used, windows["starts"].sum() / windows["max"].sum()
    yield "limiter shut", cost.shut, shut.sum(axis=1).sum()
    yield "limiter blocked", cost.blocked, blocked
    yield "limiter slot seconds", cost.slot_seconds, slot_seconds
    yield "limiter job seconds", cost.job_seconds, job_seconds
    yield "limiter capacity", cost.capacity, 60 / 20


def threshold_figures(result: Result) -> Figures:
    jobs, facts = measured_jobs(result), result.facts
    checks = result.checks[result.checks["kind"] == "threshold"].reset_index(drop=True)
    ended = jobs[jobs["finished"].notna()]
    waiting, running = waiting_level(result), running_level(result)
    all_ = totals(result, jobs, result.jobs)
    span = facts.duration - facts.warmup
    done = result.jobs[(result.jobs["state"] == "completed") & (result.jobs["finished"] >= facts.warmup)]
    flaky, batch = ended[ended["name"] == "flaky"], jobs[jobs["load"] == "batch"]
    right = [
        all_["lost"], all_["completed"], all_["retries"], all_["success_rate"], len(done) / span,
        all_["retry_amplification"], running.mean(facts.warmup, facts.duration) / facts.concurrency,
        ended["latency"].quantile(0.95), jobs["waiting"].mean(), ended["service"].max(),
        waiting.series(facts.warmup, facts.duration).max(), waiting.mean(facts.warmup, facts.duration),
        running.series(facts.warmup, facts.duration).max(), flaky["latency"].median(), batch["waiting"].quantile(0.99),
    ]  # fmt: skip
    assert len(checks) == len(right)
    for name, told, value in zip(checks["check"], checks["value"], right, strict=True):
        yield f"threshold {name}", told, value


# -- text


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_in(text: str) -> float:
    """ "2 min 5 s", "250 ms", "3.2h" in seconds."""
    parts = re.findall(r"([\d.,]+) ?(ms|min|s|m|h|d)\b", text)
    return sum(float(number.replace(",", "")) * UNITS[unit] for number, unit in parts)


def numbers_in(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def text_figures(result: Result) -> Figures:
    """Numbers that people read: the terminal's and notebook's tables, and titles of pictures."""
    jobs, facts = measured_jobs(result), result.facts
    right = totals(result, jobs, result.jobs)
    lines = dict(digest.totals(result))
    for label, key in (
        ("jobs added", "added"), ("completed", "completed"), ("failed for good", "failed"),
        ("unfinished at the end", "unfinished"), ("lost", "lost"), ("attempts", "attempts"),
    ):  # fmt: skip
        yield f"text {label}", numbers_in(lines[label])[0], right[key]
    backlog = waiting_level(result).series(facts.warmup, facts.duration)
    busy = running_level(result).mean(facts.warmup, facts.duration) / facts.concurrency
    assert numbers_in(lines["utilisation"])[0] == pytest.approx(100 * busy, rel=0.01)
    if backlog.max() > 0:
        assert f"at most {backlog.max():,} at" in lines["backlog"]
    headline = digest.headline(result)
    yield "headline jobs", numbers_in(headline)[0], right["added"]
    span = headline.partition(" in ")[2].partition(":")[0].partition(" after")[0]
    assert seconds_in(span) == pytest.approx(facts.duration - facts.warmup, rel=0.01)
    if right["latency.count"]:
        assert seconds_in(headline.partition("took at most")[2]) == pytest.approx(right["latency.p95"], rel=0.01)
    for row in digest.counts(result):
        mine = jobs if row[0] == "all" else jobs[jobs["name"] == row[0]]
        every = result.jobs if row[0] == "all" else result.jobs[result.jobs["name"] == row[0]]
        figures = totals(result, mine, every)
        for cell, key in zip(row[1:], ("added", "completed", "failed", "unfinished", "lost", "attempts"), strict=True):
            yield f"table {row[0]} {key}", numbers_in(cell)[0], figures[key]
    told = digest.limiter(result)
    if told is not None:
        windows = result.limiter[result.limiter["opened"] >= facts.warmup]
        full = (windows["starts"] >= windows["max"]).sum()
        assert f"{full:,} of {len(windows):,} window" in told


def plot_figures(result: Result) -> Figures:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    facts, jobs = result.facts, measured_jobs(result)
    right = totals(result, jobs, result.jobs)

    def title(draw: Callable[..., Any], **options: Any) -> str:
        ax = draw(**options)
        text: str = ax.get_title(loc="left").replace("\n", " ")
        pyplot.close(ax.figure)
        return text

    plot = result.plot
    running, middle = running_level(result), facts.duration / 2
    chart = title(plot.gantt, start=middle, end=middle + 30)
    busy = 100 * running.mean(middle, middle + 30) / facts.concurrency
    assert numbers_in(chart.partition("utilisation")[2])[0] == pytest.approx(busy, rel=0.01), chart
    shown = result.attempts[
        (result.attempts["started"] <= middle + 30) & (result.attempts["ended"].fillna(facts.duration) >= middle)
    ]
    yield "gantt attempts", numbers_in(chart)[0], len(shown)
    yield "gantt slots", numbers_in(chart.partition(";")[2])[0], facts.concurrency
    finished = title(plot.latency_distribution)
    yield "distribution jobs", numbers_in(finished)[1], right["latency.count"]
    assert seconds_in(finished.partition("at most")[2]) == pytest.approx(right["latency.p95"], rel=0.01)
    failing = title(plot.attempts)
    yield "attempts failed", numbers_in(failing)[0], right["failed"]
    yield "attempts jobs", numbers_in(failing)[1], right["added"]
    assert numbers_in(failing)[2] == pytest.approx(right["retry_amplification"], abs=0.005)
    backlog = waiting_level(result).series(facts.warmup, facts.duration)
    yield "backlog title", numbers_in(title(plot.backlog))[0], backlog.max()
    over_time = title(plot.latency_over_time, every=20.0)
    highest = max(
        group.quantile(0.95)
        for _, group in result.jobs.groupby((result.jobs["finished"].clip(upper=facts.duration - 1e-6)) // 20.0)[
            "latency"
        ]
    )
    assert seconds_in(over_time) == pytest.approx(highest, rel=0.01)
    assert ("warm-up included" in over_time) == bool(facts.warmup)
    panels = plot.overview()
    heading = panels[0, 0].figure.get_suptitle()
    pyplot.close(panels[0, 0].figure)
    yield "overview jobs", numbers_in(heading.partition(": ")[2])[0], right["added"]
    if facts.limiter is not None:
        windows = result.limiter[result.limiter["opened"] >= facts.warmup]
        told = numbers_in(title(plot.limiter_windows))
        yield "title full windows", told[0], (windows["starts"] >= windows["max"]).sum()
        yield "title windows", told[1], len(windows)


PARTS = (summary_figures, timeline_figures, analysis_figures, threshold_figures, text_figures, plot_figures)


@pytest.mark.parametrize("name", RUNS)
def test_figures_are_what_plain_pandas_makes_of_the_frames(name: str) -> None:
    scenario, backend = RUNS[name]
    result = queuesim.run(scenario, backend=backend, progress=False)
    assert len(result.jobs) > 200
    differing, count = [], 0
    for part in PARTS:
        for figure, told, right in part(result):
            count += 1
            if told != pytest.approx(right, rel=1e-9, abs=1e-9, nan_ok=True):
                differing.append(f"{figure}: {told}, and not {right}")
    assert differing == []
    assert count * len(RUNS) >= COMPARED
