"""Plots of real runs with faults and overdue scans: what is drawn is what the frames of the run say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import queuesim
from queuesim.results.result import Result

matplotlib = pytest.importorskip("matplotlib")

from queuesim.results.plots import style  # noqa: E402
from queuesim.results.plots.comparison import overlay  # noqa: E402
from queuesim.results.plots.over_time import whole_bins  # noqa: E402

STORM = {
    "name": "storm",
    "seed": 5,
    "duration": "20m",
    "warmup": "1m",
    "drain": True,
    "queue": {"attempts": 3, "backoff": {"type": "exponential", "delay": "1s"}},
    "workers": {"count": 2, "concurrency": 2, "limiter": {"max": 60, "duration": "1m"}},
    "jobs": {"mail": {"service": {"exponential": "2s"}}},
    "load": [{"name": "steady", "poisson": "30/min"}, {"name": "rush", "bulk": {"at": "5m", "size": 40}}],
    "faults": [
        {"redis.outage": {"at": ["8m", "14m"], "for": "1m"}},
        {"redis.latency": {"at": "10m", "for": "1m", "delay": "200ms"}},
        {"worker.crash": {"every": {"exponential": "4m"}, "restart": "5s"}},
        {"handler.error": {"at": "3m", "for": "90s", "probability": "50%", "category": "database"}},
        {"database.outage": {"at": "17m", "for": "30s"}},
        {"producer.burst": {"at": "12m", "size": 30, "load": "steady"}},
    ],
}
OVER_TIME = (
    *("throughput", "backlog", "backlog_and_throughput", "latency_over_time", "limiter_windows", "overdue_batches"),
    "gantt",
)
"""Every plot whose horizontal axis is time."""


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "agg"}):
        yield
        pyplot.close("all")


@pytest.fixture(scope="module")
def storm() -> Result:
    return queuesim.run(STORM)


def spans(ax: Any, unit: float) -> dict[str, list[tuple[float, float]]]:
    """The hatched spans of each colour and hatch by the kind in the legend, in seconds."""
    kinds, found = {}, {}
    for patch, label in zip(*ax.get_legend_handles_labels(), strict=True):
        if getattr(patch, "get_hatch", lambda: None)() and "." in label:
            kinds[patch.get_hatch(), patch.get_edgecolor()] = label
    for patch in ax.patches:
        kind = kinds.get((patch.get_hatch(), patch.get_edgecolor()))
        if kind is not None:
            box = patch.get_extents().transformed(ax.transData.inverted())
            found.setdefault(kind, []).append((box.x0 * unit, box.x1 * unit))
    return found


@pytest.mark.parametrize("plot", OVER_TIME)
def test_each_fault_of_a_run_is_shaded_for_as_long_as_it_was_on(storm: Result, plot: str) -> None:
    faults = storm.faults
    assert faults["fault"].nunique() == 6
    whole = {"start": 0.0, "end": storm.facts.duration} if plot == "gantt" else {}
    ax = getattr(storm.plot, plot)(**whole)
    ax.figure.canvas.draw()
    unit = 1.0 if plot == "gantt" else style.time_unit(storm.facts.duration)[0]
    for panel in ax.child_axes or [ax]:
        drawn = spans(panel, unit)
        for kind, rows in faults.groupby("fault", observed=True):
            expected = np.array([rows["began"], rows["ended"].fillna(storm.facts.duration)]).T
            assert np.sort(drawn[str(kind)], axis=0) == pytest.approx(np.sort(expected, axis=0), abs=0.05), kind


def test_faults_are_shaded_where_runs_are_overlaid(storm: Result) -> None:
    calm = queuesim.run({**STORM, "faults": []})
    ax = overlay({"with faults": storm, "without": calm}, "backlog")
    drawn = spans(ax, style.time_unit(storm.facts.duration)[0])
    assert set(drawn) == set(storm.faults["fault"])


def test_every_plot_over_time_is_in_this_list() -> None:
    from queuesim.results.plots import Plots

    others = {"latency_distribution", "attempts", "retry_waterfall", "overview", "beside"}
    assert {name for name in vars(Plots) if not name.startswith("_")} - others == set(OVER_TIME)


def test_kinds_of_faults_are_told_apart() -> None:
    kinds = ["redis.outage", "redis.latency", "worker.crash", "handler.error", "database.slow", "producer.burst"]
    styles = style.fault_styles(kinds)
    assert len(set(styles.values())) == len(kinds)
    assert styles["redis.outage"][0] == styles["redis.latency"][0] != styles["worker.crash"][0]


def test_batches_of_real_scans_are_drawn_from_their_beginning_to_their_end() -> None:
    result = queuesim.run(
        {
            "name": "scans",
            "duration": "2h30m",
            "drain": True,
            "workers": {"concurrency": 5, "limiter": {"max": 60, "duration": "1m"}},
            "jobs": {"overdue-tasks-notification": {"service": "200ms"}},
            "overdue": {"cron": "0 * * * *", "tasks": 250},
        }
    )
    scans = result.overdue
    assert len(scans) == 2
    ax = result.plot.overdue_batches()
    unit = style.time_unit(result.facts.duration)[0]
    curves = [line for line in ax.lines if len(line.get_xdata()) > 1]
    for scan, line in zip(scans.itertuples(), curves, strict=True):
        times, left = np.asarray(line.get_xdata()) * unit, line.get_ydata()
        assert times[0] == pytest.approx(scan.began)
        assert times[-1] == pytest.approx(scan.drained)
        assert (left[0], left[-1]) == (scan.enqueued, 0)
    # each batch has its size beside it; the first says what triggered them
    first, second = (f"{scan.enqueued:,}" for scan in scans.itertuples())
    assert [text.get_text() for text in ax.texts][:2] == [f"cron: {first} jobs", second]


def test_a_sliver_at_the_end_of_a_run_is_no_bin_of_its_own() -> None:
    """The last job ends a moment after the last whole bin: a rate over that moment would be the highest of all."""
    load = [{"name": "steady", "constant": "1/s"}]
    run = {"name": "x", "duration": "1m", "drain": True, "jobs": {"a": {"service": "900ms"}}, "load": load}
    result = queuesim.run({**run, "workers": {"concurrency": 3}})
    assert 60 < result.facts.duration < 62
    bins, edges = whole_bins(result, 10.0)
    assert list(edges) == [0, 10, 20, 30, 40, 50, result.facts.duration]
    assert bins["completed"].sum() == len(result.jobs)
    assert len(result.timeline(10.0)) == 7
    assert bins["throughput"].max() < 1.2
    whole, _ = whole_bins(result, result.facts.duration / 4)
    assert len(whole) == 4


def test_the_title_names_the_run_with_the_highest_value() -> None:
    runs = {f"a run with a rather long name, number {n}": queuesim.run({**STORM, "seed": n}) for n in (1, 2)}
    ax = overlay(runs, "backlog")
    assert ax.get_title(loc="left").count("a run with") == 1
    # the names stand in the legend, each with its own highest value
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [label.partition(":")[0] for label in labels] == list(runs)
    assert all("highest" in label for label in labels)
