"""Sweeps over combinations of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import queuesim
from queuesim.experiments.interval import replications
from queuesim.experiments.sweep import SweepFrame, sweep

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "duration": "2m",
    "workers": {"concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": "500ms"}}},
    "load": [{"name": "steady", "poisson": "3/s"}],
    "thresholds": ["latency.p95 < 3s"],
}


def test_a_row_for_each_combination_and_seed() -> None:
    told: list[tuple[int, int]] = []
    axes = {"workers.concurrency": [1, 4], "load": [0.5, 1.0]}
    frame = sweep(
        SMALL, axes, ["latency.p95", "throughput"], seeds=2, progress=lambda done, of: told.append((done, of))
    )
    assert list(frame.columns) == ["workers.concurrency", "load", "seed", "latency.p95", "throughput", "ok"]
    assert len(frame) == 8
    assert set(frame["seed"]) == {5, 6}
    assert told == [(i, 8) for i in range(1, 9)]
    slow = frame[(frame["workers.concurrency"] == 1) & (frame["load"] == 1.0)]
    assert not slow["ok"].any()
    assert frame[frame["workers.concurrency"] == 4]["ok"].all()


def test_a_row_is_what_that_run_measures() -> None:
    frame = sweep(SMALL, {"workers.concurrency": [2]}, seeds=[9])
    summary = queuesim.run(SMALL, seed=9).summary()
    assert frame.loc[0, "latency.p95"] == summary.jobs.latency.p95
    assert frame.loc[0, "utilisation"] == summary.utilisation
    assert frame.loc[0, "backlog.max"] == summary.backlog_max


def test_what_cannot_be_swept_is_said_before_anything_runs() -> None:
    with pytest.raises(ValueError, match='unknown metric "speed"'):
        sweep(SMALL, {"load": [1]}, ["speed"])
    with pytest.raises(ValueError, match="latency needs a statistic"):
        sweep(SMALL, {"load": [1]}, ["latency"])
    with pytest.raises(ValueError, match="the axis 'load' has no values"):
        sweep(SMALL, {"load": []})


# -- replications, intervals, differences


def test_all_combinations_have_the_seeds_of_replicate() -> None:
    frame = sweep(SMALL, {"workers.concurrency": [2, 3]}, ["latency.p95"], replications=3)
    seeds = queuesim.replicate(SMALL, 3, measured=["latency.p95"])
    assert [list(group["seed"]) for _, group in frame.groupby("workers.concurrency")] == [seeds.seeds] * 2
    assert list(frame["latency.p95"][:3]) == list(seeds.runs["latency.p95"])
    with pytest.raises(ValueError, match="not both"):
        sweep(SMALL, {"load": [1]}, seeds=2, replications=3)


def test_intervals_of_each_combination_and_figure() -> None:
    axes = {"workers.concurrency": [1, 2], "load": [0.5, 1.0]}
    frame = sweep(SMALL, axes, ["latency.p95", "utilisation"], replications=4)
    found = frame.intervals(0.9)
    assert list(found.columns[:5]) == ["workers.concurrency", "load", "metric", "statistic", "mean"]
    assert len(found) == 8
    row = found[(found["workers.concurrency"] == 2) & (found["load"] == 1.0) & (found["metric"] == "latency")].iloc[0]
    runs = frame[(frame["workers.concurrency"] == 2) & (frame["load"] == 1.0)]
    expected = replications(runs["latency.p95"], confidence=0.9)
    assert (row["mean"], row["half_width"], row["replications"]) == (expected.mean, expected.half_width, 4)
    # 1.5 s of work per second for one slot
    late = found[(found["workers.concurrency"] == 1) & (found["load"] == 1.0)].set_index("metric")
    assert late["half_width"].isna().tolist() == [True, False]
    assert "slots" in late.loc["latency", "note"]
    assert late.loc["latency", "failed"] == 4


def test_differences_are_paired_by_seed() -> None:
    frame = sweep(SMALL, {"load": [0.95, 1.0]}, ["latency.mean", "utilisation"], replications=10)
    found = frame.differences({"load": 1.0}).set_index("metric")
    assert list(found["load"]) == [0.95, 0.95]
    before, after = (frame[frame["load"] == load]["utilisation"].to_numpy() for load in (1.0, 0.95))
    expected = replications(after - before)
    assert found.loc["utilisation", "mean"] == pytest.approx(expected.mean)
    assert found.loc["utilisation", "half_width"] == pytest.approx(expected.half_width)
    # the runs have their arrivals and service times in common
    assert expected.half_width < replications(after).half_width
    heads, rows = frame.difference_table({"load": 1.0})
    assert (heads, len(rows)) == (["load", "latency.mean", "utilisation"], 1)
    with pytest.raises(ValueError, match="load 2,"):
        frame.differences({"load": 2.0})
    with pytest.raises(ValueError, match="no axis"):
        frame.differences({"workers": 2})
    with pytest.raises(ValueError, match="replications=10"):
        sweep(SMALL, {"load": [1, 2]}, ["latency.p95"]).differences()


def test_parts_of_the_frame_are_plain_pandas() -> None:
    frame = sweep(SMALL, {"load": [1, 2]}, ["latency.p95"], replications=2)
    assert type(frame[frame["load"] == 1]) is pd.DataFrame
    assert type(frame.copy()) is pd.DataFrame
    with pytest.raises(ValueError, match="keep it"):
        SweepFrame(frame.copy()).intervals()


def test_a_sweep_that_is_repeated_plays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep(SMALL, {"load": [1, 2]}, ["latency.p95"], replications=2, cache=tmp_path)

    def played(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("queuesim.experiments.task.run", played)
    told: list[tuple[int, int]] = []
    again = sweep(
        SMALL,
        {"load": [1, 2]},
        ["latency.p95"],
        replications=2,
        cache=tmp_path,
        progress=lambda done, of: told.append((done, of)),
    )
    pd.testing.assert_frame_equal(pd.DataFrame(first), pd.DataFrame(again))
    assert told == [(4, 4)]


def test_a_sweep_on_processes_is_the_same() -> None:
    axes = {"workers.concurrency": [2, 3]}
    here, there = (sweep(SMALL, axes, ["latency.p95"], replications=3, executor=each) for each in (None, 2))
    pd.testing.assert_frame_equal(pd.DataFrame(here), pd.DataFrame(there))


def test_pictures_of_one_and_two_axes() -> None:
    one = sweep(SMALL, {"workers.concurrency": [2, 3], "load": [1]}, ["latency.p95", "utilisation"], replications=2)
    assert [ax.get_xlabel() for ax in one.picture(["utilisation"]).axes] == ["workers.concurrency"]
    two = sweep(SMALL, {"workers.concurrency": [2, 3], "load": [1, 2]}, ["latency.p95"])
    (ax,) = two.picture().axes
    assert (ax.get_xlabel(), ax.get_ylabel(), len(ax.texts)) == ("workers.concurrency", "load", 4)
    words = sweep(SMALL, {"jobs.mail.service": ["100ms", "1s"]}, ["latency.p95"])
    assert [tick.get_text() for tick in words.picture().axes[0].get_xticklabels()] == ["100ms", "1s"]
    with pytest.raises(ValueError, match="none"):
        sweep(SMALL, {"load": [1]}, ["latency.p95"]).picture()
    with pytest.raises(ValueError, match="speed"):
        one.picture(["speed"])


def test_values_that_do_not_go_together_are_named() -> None:
    with pytest.raises(ValueError, match=r'duration "1m", warmup "2m": .*leaves nothing'):
        sweep(SMALL, {"duration": ["3m", "1m"], "warmup": ["30s", "2m"]})
