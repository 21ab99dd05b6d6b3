"""Whatever a run came to, an empty one or one of a single job, everything that can be asked of it has an answer."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from metrics_script import Script
from oddruns import RUNS
from rich.console import Console
from test_plots import PLOTS

from queuesim.results.analysis import Analysis
from queuesim.results.frames import FRAMES
from queuesim.results.metrics import METRICS, measure
from queuesim.results.plots.comparison import heat_map, overlay
from queuesim.results.result import Result, load
from queuesim.results.views.reports import junit, markdown
from queuesim.results.views.terminal import render

matplotlib = pytest.importorskip("matplotlib")

OLD = Path(__file__).parent / "data" / "version-1"


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "agg"}):
        yield
        pyplot.close("all")


@pytest.fixture(params=RUNS)
def result(request: pytest.FixtureRequest) -> Result:
    script: Callable[[], Script] = RUNS[request.param]
    return Result(script().recording())


def test_every_frame_has_its_columns_and_kinds(result: Result) -> None:
    full = Result(RUNS["busy"]().recording())
    for name in FRAMES:
        own, other = getattr(result, name), getattr(full, name)
        assert list(own.columns) == list(other.columns)
        assert [str(kind) for kind in own.dtypes] == [str(kind) for kind in other.dtypes]
        placed = getattr(result.calendar, name)
        assert [str(kind) for kind in placed.dtypes] == [str(kind) for kind in getattr(full.calendar, name).dtypes]
        assert len(placed) == len(own)
    assert list(result.timeline(10).columns) == list(full.timeline(10).columns)


def test_every_question_has_an_answer(result: Result) -> None:
    asked = [name for name, _ in inspect.getmembers(Analysis, inspect.isfunction) if not name.startswith("_")]
    assert len(asked) >= 8
    for name in asked:
        answer = getattr(result.analysis, name)()
        if isinstance(answer, pd.DataFrame):
            assert len(answer.columns)


def test_every_metric_is_a_number_or_unknown(result: Result) -> None:
    for name, metric in METRICS.items():
        for statistic in metric.statistics or (None,):
            value = measure(result, name, statistic)
            assert math.isnan(value) or math.isfinite(value), (name, statistic)


def test_every_view_of_it_is_made(result: Result) -> None:
    for text in (repr(result), repr(result.summary()), result._repr_html_(), markdown(result), junit(result)):
        assert text
    assert result.checks._repr_html_()
    render(result, Console(file=io.StringIO(), width=100))


def test_runs_overlaid_and_a_sweep_of_nothing(result: Result) -> None:
    for what in ("throughput", "latency_p95", "utilisation"):
        overlay({"a": result, "b": result}, what)
    frame = pd.DataFrame({"x": [1, 2], "y": [1, 1], "latency.p95": [math.nan, math.nan]})
    assert heat_map(frame, "x", "y", "latency.p95").texts[0].get_text() == "latency.p95 was not measured in any run"


def test_it_comes_back_from_parquet_and_can_be_drawn(result: Result, tmp_path: Path) -> None:
    result.to_parquet(tmp_path)
    again = load(tmp_path)
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    assert again.plot.overview().shape == (2, 2)


@pytest.mark.parametrize("plot", [*PLOTS, "overview"])
def test_what_an_older_version_stored_can_be_drawn(plot: str) -> None:
    drawn: Any = getattr(load(OLD).plot, plot)()
    axes = drawn[0, 0] if plot == "overview" else drawn
    axes.figure.canvas.draw()


def test_what_an_older_version_stored_answers_every_question() -> None:
    old = load(OLD)
    for name, _ in inspect.getmembers(Analysis, inspect.isfunction):
        if not name.startswith("_"):
            getattr(old.analysis, name)()
    assert "2 jobs" in repr(old)
    assert old.to_html().endswith("</html>\n")
    assert set(old.calendar.jobs.columns) == {*old.jobs.columns} >= {*Result(RUNS["one"]().recording()).jobs.columns}
