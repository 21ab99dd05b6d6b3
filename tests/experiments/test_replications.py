"""Replications: seeds, intervals, stopping, warm-up, verdicts over runs, and systems without a steady state."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import queuesim
from queuesim.experiments.interval import replications
from queuesim.experiments.precision import Precision, first_reached
from queuesim.experiments.recommend import recommend
from queuesim.experiments.replications import Replications, replicate
from queuesim.experiments.stability import growth, offered_load
from queuesim.experiments.task import CheckOutcome, Measured, seeds_of
from queuesim.experiments.warmup import WarmupError, mser5
from queuesim.runs.effort import TooLargeError
from queuesim.scenario.loading import as_scenario
from queuesim.scenario.model import BackendError, Scenario

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "duration": "5m",
    "warmup": "30s",
    "workers": {"concurrency": 2},
    "jobs": {"mail": {"service": {"exponential": "500ms"}}},
    "load": [{"name": "steady", "poisson": "3/s"}],
    "thresholds": ["latency.p95 < 30s", "lost == 0"],
}
FIGURES = ("waiting.p95", "utilisation", "throughput")


def test_the_frame_has_a_row_a_figure_with_its_interval() -> None:
    found = replicate(SMALL, 4)
    assert list(found.frame.columns) == [
        *("metric", "statistic", "mean", "low", "high", "half_width", "replications", "unit")
    ]
    row = found.frame.set_index(["metric", "statistic"]).loc[("waiting", "p95")]
    each = [queuesim.run(SMALL, seed=seed).summary().jobs.waiting.p95 for seed in seeds_of(5, 4)]
    expected = replications(each)
    assert (row["mean"], row["low"], row["high"]) == (expected.mean, expected.low, expected.high)
    assert (row["half_width"], row["replications"], row["unit"]) == (expected.half_width, 4, "s")
    assert list(found.runs["seed"]) == seeds_of(5, 4)
    assert list(found.runs["waiting.p95"]) == each
    assert found.runs["ok"].all()


def test_the_first_runs_are_the_same_however_many_there_are() -> None:
    few, more = replicate(SMALL, 3, measured=FIGURES), replicate(SMALL, 5, measured=FIGURES, executor=2)
    pd.testing.assert_frame_equal(few.runs, more.runs[:3])
    other = replicate(SMALL, 3, measured=FIGURES, seed=6)
    assert not set(other.seeds) & set(few.seeds)


def test_a_run_can_be_played_again_for_its_whole_result() -> None:
    found = replicate(SMALL, 2, measured=FIGURES)
    again = found.result(found.seeds[1])
    assert again.summary().utilisation == found.runs.loc[1, "utilisation"]
    with pytest.raises(ValueError, match="seed 1"):
        found.result(1)


def test_whole_results_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    found = replicate(SMALL, 2, measured=FIGURES, keep=tmp_path)
    kept = queuesim.load(tmp_path / str(found.seeds[0]))
    assert kept.summary().utilisation == found.runs.loc[0, "utilisation"]


def test_one_run_alone_has_no_interval() -> None:
    found = replicate(SMALL, 1, measured=FIGURES)
    assert found.frame["half_width"].isna().all()
    assert found.frame["mean"].notna().all()
    assert "one run alone" in found.notes[0]


def test_runs_with_nothing_to_measure_are_left_out_of_a_mean() -> None:
    outcomes = [outcome(waiting=value) for value in (1.0, math.nan, 3.0)]
    found = Replications(as_scenario(SMALL), [1, 2, 3], outcomes)
    assert (found.frame.loc[0, "mean"], found.frame.loc[0, "replications"]) == (2.0, 2)


def test_a_quantile_over_runs_has_bounds_among_the_runs() -> None:
    found = replicate(SMALL, 20, measured=["backlog.max"])
    bounds = found.quantile("backlog.max", 0.5)
    assert bounds.low < bounds.estimate < bounds.high
    assert {bounds.low, bounds.high} <= set(found.runs["backlog.max"])
    assert found.quantile("backlog.max", 0.9).high == math.inf
    with pytest.raises(ValueError, match="figure"):
        found.quantile("waiting.p95", 0.5)


# -- until


def test_it_stops_at_the_first_run_at_which_the_interval_is_narrow_enough() -> None:
    found = replicate(SMALL, 60, measured=(), until={"waiting.p95": "22%"})
    values = found.runs["waiting.p95"].to_numpy()
    assert 10 < len(values) < 60
    assert found.interval("waiting.p95").half_width <= 0.22 / 1.22 * values.mean()
    before = replications(values[:-1])
    assert before.half_width > 0.22 / 1.22 * before.mean
    assert "reached with" in found.notes[-1]
    # the same number of runs however many are played at a time
    assert replicate(SMALL, 60, measured=(), until={"waiting.p95": "22%"}, executor=2).seeds == found.seeds


def test_it_says_that_the_width_was_not_reached() -> None:
    found = replicate(SMALL, 12, measured=(), until={"waiting.p95": "1us"})
    assert len(found.seeds) == 12
    assert "NOT reached" in found.notes[-1]


def test_widths_are_parts_of_the_mean_or_in_the_figures_unit() -> None:
    values = [9.0, 10.0, 11.0, 10.0]  # half width 1.299 at 95 %
    assert Precision.of("waiting.p95", "1300ms").reached(values, 0.95)
    assert not Precision.of("waiting.p95", "1290ms").reached(values, 0.95)
    assert Precision.of("waiting.p95", 1.3).reached(values, 0.95)
    # 1.299 is within 15 % / 1.15 of 10
    assert Precision.of("waiting.p95", "15%").reached(values, 0.95)
    assert not Precision.of("waiting.p95", "14%").reached(values, 0.95)
    assert Precision.of("throughput", "78/min").width == 1.3
    assert first_reached([Precision.of("lost", 5.0)], {"lost": [1.0, 2.0, 3.0]}, 3, 0.95, 2) == 3
    for figure, width in (("waiting", "5%"), ("waiting.p95", "fast"), ("waiting.p95", "0%"), ("waiting.p95", math.nan)):
        with pytest.raises(ValueError):
            Precision.of(figure, width)


# -- warm-up


def test_mser5_cuts_where_a_start_that_is_unlike_the_rest_ends() -> None:
    rng = np.random.default_rng(3)
    steady = rng.normal(10, 1, 2000)
    start = np.linspace(40, 10, 200)
    cut = mser5(np.concatenate((start, steady)))
    assert cut is not None
    assert 150 <= cut <= 260
    assert cut % 5 == 0
    unbiased = mser5(steady)
    assert unbiased is not None
    assert unbiased < 1000
    # what grows without end has no steady part
    assert mser5(np.arange(1000.0)) is None
    with pytest.raises(ValueError):
        mser5([1.0] * 49)
    with pytest.raises(ValueError):
        mser5([math.nan] * 100)


def test_mser5_agrees_with_its_definition() -> None:
    series = np.concatenate((np.full(60, 90.0), np.random.default_rng(4).exponential(2.0, 440).cumsum() % 37))
    batches = series.reshape(-1, 5).mean(axis=1)
    errors = [((batches[cut:] - batches[cut:].mean()) ** 2).sum() / (100 - cut) ** 2 for cut in range(51)]
    best = int(np.argmin(errors))
    assert 12 <= best < 49
    assert mser5(series) == 5 * best


BACKLOG = {**SMALL, "warmup": "0s", "duration": "30m", "load": [*SMALL["load"], {"name": "night", "backlog": 200}]}


def test_the_warm_up_is_found_and_left_out() -> None:
    found = replicate(BACKLOG, 2, measured=FIGURES, warmup="mser-5")
    # 200 jobs are worked off at 1 a second
    assert 100 < found.scenario.warmup < 900
    assert "MSER-5" in " ".join(found.notes)
    assert replicate(BACKLOG, 7, measured=FIGURES, warmup="mser-5").scenario.warmup == found.scenario.warmup
    assert found.interval("waiting.p95").mean < replicate(BACKLOG, 2, measured=FIGURES).interval("waiting.p95").mean / 2
    assert replicate(SMALL, 2, measured=FIGURES, warmup="1m").scenario.warmup == 60


def test_a_warm_up_that_cannot_be_found_is_said() -> None:
    with pytest.raises(WarmupError, match="5 of 5 runs"):
        replicate({**SMALL, "workers": {"concurrency": 1}}, 2, warmup="mser-5")
    with pytest.raises(WarmupError, match="50 jobs"):
        replicate({**SMALL, "load": [{"name": "few", "constant": "6/min"}]}, 2, warmup="mser-5")


# -- no steady state


def test_an_overload_is_said_in_place_of_an_interval() -> None:
    found = replicate({**SMALL, "workers": {"concurrency": 1}}, 3, measured=(*FIGURES, "backlog.mean"))
    assert "1.5 s of work" in found.unstable
    frame = found.frame.set_index("metric")
    assert frame.loc[["waiting", "backlog"], "half_width"].isna().all()
    assert frame.loc[["utilisation", "throughput"], "half_width"].notna().all()
    assert found.unstable in " ".join(found.notes)


def test_the_offered_load_counts_retries_and_the_limiter() -> None:
    def load(**keys: Any) -> Any:
        return offered_load(as_scenario({**SMALL, **keys}))

    assert load().work == pytest.approx(1.5)
    assert load().too_large == ""
    failing = {"mail": {"service": {"exponential": "500ms"}, "errors": {"network": 0.5}}}
    assert load(jobs=failing, queue={"attempts": 3}).work == pytest.approx(1.5 * 1.75)
    assert "slots" in load(jobs=failing, queue={"attempts": 3}).too_large
    assert "limiter" in load(workers={"concurrency": 2, "limiter": {"max": 2, "duration": "1s"}}).too_large
    # exactly as much as there is capacity for: too much if chance has a part in it
    assert load(workers={"concurrency": 3}, jobs={"mail": {"service": {"exponential": "1s"}}}).too_large
    even = {"jobs": {"mail": {"service": "1s"}}, "load": [{"name": "even", "constant": "3/s"}]}
    assert not load(workers={"concurrency": 3}, **even).too_large
    # what ends, or changes, has no steady state to miss
    for entry in ({"bulk": {"size": 5, "at": "1s"}}, {"poisson": "3/s", "duration": "1m"}, {"backlog": 7}):
        assert load(load=[{"name": "other", **entry}]) is None


def test_a_backlog_that_grows_is_noticed_without_arithmetic() -> None:
    # a handler of the user's own, whose time is unknown: 5/s arrive, 4/s are done
    processor = queuesim.Processor("own", concurrency=2)

    @processor.job("mail")
    async def mail(job: queuesim.Job) -> None:
        import asyncio

        await asyncio.sleep(0.5)

    own = {**SMALL, "jobs": {}, "load": [{"name": "steady", "poisson": "5/s", "jobs": {"mail": 1}}]}
    found = replicate(own, 3, measured=FIGURES, processor=processor)
    # at the rate of 1/s, but for chance
    assert re.search(r"grows all the time, by about (1\.\d+/s|5\d(\.\d)?/min)", found.unstable)
    assert math.isnan(found.interval("waiting.p95").half_width)
    # in a run whose load changes, that is no reason to hide the figures of just this run
    staged = {"stages": [{"duration": "5m", "rate": "8/s"}]}
    found = replicate({**SMALL, "load": [{"name": "steady", "poisson": staged}]}, 3, measured=FIGURES)
    assert not found.unstable
    assert "grows all the time" in found.growing
    assert found.interval("waiting.p95").half_width > 0


def test_a_queue_that_settles_slowly_does_not_grow_all_the_time() -> None:
    close = {**SMALL, "duration": "1h", "jobs": {"mail": {"service": {"exponential": "630ms"}}}}
    found = replicate(close, 10, measured=FIGURES)
    assert not found.unstable
    assert not growth(found.outcomes, 1800, 1800)


# -- verdicts


def outcome(
    failed: Sequence[str] = (), unjudged: Sequence[str] = (), waiting: float = 1.0, ok: bool = True
) -> Measured:
    def status(name: str) -> str:
        return "failed" if name in failed else "not judged" if name in unjudged else "passed"

    names = [("latency.p95 < 30s", "threshold"), ("lost == 0", "threshold"), ("order", "oracle")]
    checks = [
        CheckOutcome(name, kind, status(name), 1.0, "< 2", "", "seen")
        for name, kind in names
        if kind == "threshold" or status(name) != "passed"
    ]
    return Measured({"waiting.mean": waiting}, ok and not failed, tuple(checks), "", 0.0, 1.0, 100)


def judged(outcomes: Sequence[Measured], **options: Any) -> Replications:
    return Replications(as_scenario(SMALL), range(len(outcomes)), outcomes, **options)


def test_a_threshold_that_failed_in_any_run_fails_unless_some_may() -> None:
    late = [outcome(["latency.p95 < 30s"])] * 2 + [outcome()] * 18
    found = judged(late)
    assert found.status == "failed"
    row = found.checks.set_index("name").loc["latency.p95 < 30s"]
    assert (row["failed"], row["runs"], row["share"]) == (2, 20, 0.1)
    # Clopper and Pearson: 2 of 20 at 95 %
    assert row["low"] == pytest.approx(0.01235, abs=1e-5)
    assert row["high"] == pytest.approx(0.31698, abs=1e-5)
    assert row["detail"] == "seed 0: seen"
    assert judged(late, may_fail=0.4).ok
    undecided = judged(late, may_fail=0.2)
    assert (undecided.ok, undecided.status, undecided.undecided) == (False, "not judged", ["latency.p95 < 30s"])
    assert judged([outcome(["latency.p95 < 30s"])] * 20, may_fail=0.2).status == "failed"
    # without a failure, too, few runs say little
    assert judged([outcome()] * 10, may_fail=0.2).undecided == ["latency.p95 < 30s", "lost == 0"]


def test_a_violation_in_any_run_fails() -> None:
    found = judged([outcome(["order"]), *[outcome()] * 99], may_fail=0.5)
    assert found.status == "failed"
    assert "order failed in 1 of 100 runs" in found.verdict


def test_a_run_that_could_not_go_on_fails() -> None:
    found = judged([outcome(ok=False), outcome()])
    assert (found.stuck, found.status) == (1, "failed")
    assert "1 of 2 runs" in found.verdict


def test_what_cannot_be_judged_is_no_failure() -> None:
    found = judged([outcome(unjudged=["lost == 0"])] * 3)
    assert found.ok
    assert found.checks.set_index("name").loc["lost == 0", "status"] == "not judged"


# -- views


def test_it_is_shown_in_a_terminal_and_in_a_notebook() -> None:
    found = replicate(SMALL, 3)
    console = Console(width=80, record=True, file=io.StringIO())
    found.render(console)
    text = console.export_text()
    for part in ("ok: 3 runs of small", "waiting p95", "95 % interval", "0 in all replications: failed", "lost == 0"):
        assert part in text
    assert "queuesim-experiment" in found._repr_html_()
    assert "ok: 3 runs of small" in repr(found)
    assert found.as_json()["figures"][0]["metric"] == "added"


def test_its_picture_has_a_panel_a_figure_with_the_limits_of_thresholds() -> None:
    found = replicate(SMALL, 3)
    figure = found.plot(["latency.p95", "utilisation"])
    assert [len(ax.lines) for ax in figure.axes] == [4, 3]
    with pytest.raises(ValueError):
        found.plot(["latency.p7"])


def test_frames_are_written(tmp_path: Path) -> None:
    found = replicate(SMALL, 2, measured=FIGURES)
    found.to_parquet(tmp_path / "new")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "new" / "figures.parquet"), found.frame)
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"figures.parquet", "runs.parquet", "checks.parquet"}


def test_what_is_wrong_is_said_before_anything_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    def played(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("queuesim.experiments.task.run", played)
    for arguments in (
        {"n": 0},
        {"confidence": 1.0},
        {"confidence": math.nan},
        {"may_fail": 1.0},
        {"measured": ["speed"]},
        {"until": {"waiting.p95": "-5%"}},
        {"warmup": "soon"},
        {"warmup": 300.0},
        {"executor": 0},
    ):
        with pytest.raises(ValueError):
            replicate(SMALL, **arguments)
    with pytest.raises(BackendError):
        replicate(SMALL, backend="redis")


def test_what_would_take_more_than_a_day_is_refused() -> None:
    for options in ({}, {"warmup": "mser-5"}):
        with pytest.raises(TooLargeError, match="1,000,000,000 runs"):
            replicate(SMALL, 1_000_000_000, **options)
    with pytest.raises(TooLargeError):
        recommend(SMALL, "workers.concurrency", replications=1_000_000_000)


def test_scenarios_are_what_run_takes(tmp_path: Path) -> None:
    assert isinstance(replicate(as_scenario(SMALL), 1, measured=()).scenario, Scenario)
