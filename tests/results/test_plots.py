"""The plots: what they show, and that they show something of any run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from metrics_script import Script
from oddruns import RUNS, busy, many_attempts, one, unfinished

from queuesim.extras import MissingExtraError
from queuesim.results.plots.distributions import waterfall
from queuesim.results.result import Result

matplotlib = pytest.importorskip("matplotlib")

PLOTS = (
    *("backlog_and_throughput", "throughput", "backlog", "latency_over_time", "latency_distribution", "attempts"),
    *("retry_waterfall", "gantt", "limiter_windows", "overdue_batches"),
)


@pytest.fixture(autouse=True)
def _agg() -> Iterator[None]:
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "agg"}):
        yield
        pyplot.close("all")


@pytest.mark.parametrize("run", RUNS)
def test_any_run_can_be_drawn(run: str) -> None:
    panels = Result(RUNS[run]().recording()).plot.overview()
    panels[0, 0].figure.canvas.draw()
    assert panels.shape == (2, 2)
    assert all(panel.get_title(loc="left") or words(panel) for panel in panels.flat)


def test_an_overview_in_a_given_figure() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    assert list(Result(busy().recording()).plot.overview(figure).flat) == figure.axes
    assert "99 jobs in 9 min 55 s after a warm-up of 5 s on sim, seed 1" in str(figure.get_suptitle())


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("plot", PLOTS)
def test_any_run_can_be_drawn_by_itself(run: str, plot: str) -> None:
    ax = getattr(Result(RUNS[run]().recording()).plot, plot)()
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left") or words(ax)


@pytest.mark.parametrize("plot", [plot for plot in PLOTS if plot not in ("retry_waterfall", "overdue_batches")])
def test_axes_are_labelled_and_say_what_one_sees(plot: str) -> None:
    ax = getattr(Result(busy().recording()).plot, plot)()
    assert ax.get_title(loc="left")
    for panel in ax.child_axes or [ax]:
        assert panel.get_ylabel()
        # what is drawn has its name beside it, or in a legend
        assert panel.get_legend() is not None or panel.texts
    assert (ax.child_axes or [ax])[-1].get_xlabel()


@pytest.mark.parametrize("plot", PLOTS)
def test_given_axes_are_drawn_on_and_returned(plot: str) -> None:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert getattr(Result(busy().recording()).plot, plot)(ax=ax) is ax
    assert pyplot.get_fignums() == []


def words(ax: object) -> str:
    return " ".join(text.get_text() for text in ax.texts)  # type: ignore[attr-defined]


def test_nothing_to_draw_is_said() -> None:
    plot = Result(Script().recording()).plot
    assert words(plot.throughput()) == words(plot.backlog()) == "no job was added"
    assert words(plot.latency_over_time()) == "no job finished"
    assert words(plot.retry_waterfall()) == words(plot.gantt()) == "no job was started"
    assert words(plot.overdue_batches()) == "no batch of jobs came"
    assert words(Result(one().recording()).plot.retry_waterfall()) == "no attempt failed"
    assert words(plot.backlog_and_throughput()) == "no job was added"
    assert words(plot.latency_distribution()) == "no job finished"
    assert words(plot.attempts()) == "no job was started"
    assert words(plot.limiter_windows()) == "no limiter"
    assert words(Result(unfinished().recording()).plot.latency_distribution()) == "no job finished"


def test_backlog_and_throughput_are_those_of_the_timeline() -> None:
    result = Result(busy().recording())
    ax = result.plot.backlog_and_throughput(every="1m")
    rates, levels = ax.child_axes
    bins = result.timeline("1m")
    added, completed = (stairs(rates, label) for label in ("added", "completed"))
    assert list(added) == pytest.approx(list(bins["added"]))  # a minute a bin, and jobs per minute
    assert list(completed) == pytest.approx(list(bins["completed"]))
    assert list(stairs(levels, "backlog (ready, not started)")) == pytest.approx(list(bins["backlog"]))
    # a maximum is the highest of its bin, not an average
    assert max(stairs(levels, "highest")) == result.summary().backlog_max
    limit = next(line for line in rates.lines if "limiter" in str(line.get_label()))
    assert list(limit.get_ydata()) == [10, 10]
    assert rates.get_ylabel() == "jobs per min"


def stairs(ax: object, label: str) -> Sequence[float]:
    """The values of a curve of steps."""
    (found,) = (patch for patch in ax.patches if patch.get_label() == label)  # type: ignore[attr-defined]
    values: Sequence[float] = found.get_data().values
    return values


def test_the_distribution_marks_its_percentiles() -> None:
    result = Result(busy().recording())
    ax = result.plot.latency_distribution()
    marks = next(line for line in ax.lines if str(line.get_label()).startswith("latency"))
    latency = result.jobs["latency"][~result.jobs["warmup"]]
    assert list(marks.get_xdata()) == pytest.approx(list(np.percentile(latency, [50, 95, 99])))
    heights = dict(zip([tick.get_text() for tick in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert marks.get_ydata()[2] == pytest.approx(heights["99 %"])
    assert ax.get_xscale() == "log"


def test_attempts_are_counted_by_number_and_outcome() -> None:
    ax = Result(busy().recording()).plot.attempts()
    bars = {container.get_label(): [bar.get_height() for bar in container] for container in ax.containers}
    assert bars == {
        "ok": [88, 10],
        "Database error, retried": [10, 0],
        "Validation error, failed": [1, 0],
    }


def test_late_attempts_share_a_group() -> None:
    ax = Result(many_attempts().recording()).plot.attempts()
    assert ax.get_xticklabels()[-1].get_text() == "8 and later\n(8)"


def test_the_waterfall_ends_at_nothing() -> None:
    total, steps = waterfall(Result(busy().recording()))
    assert (total, [(name, count) for name, count, _ in steps]) == (
        11,
        [("not\nretryable", 1), ("saved by\nattempt 2", 10)],
    )
    total, steps = waterfall(Result(many_attempts().recording()))
    assert total == sum(count for _, count, _ in steps) == 1


def test_windows_are_as_high_as_their_starts() -> None:
    result = Result(busy().recording())
    ax = result.plot.limiter_windows()
    used_up = next(area for area in ax.collections if area.get_label() == "used up")
    assert used_up.get_datalim(ax.transData).y1 == result.limiter["starts"].max()
    allowed = next(line for line in ax.lines if line.get_label() == "allowed")
    assert np.nanmax(allowed.get_ydata()) == 10
    # the first of ten opened in the warm-up: it is drawn, and not counted
    assert (len(result.limiter), result.facts.warmup) == (10, 5.0)
    assert "of 9 limiter windows" in ax.get_title(loc="left")


@pytest.mark.parametrize("plot", [*PLOTS, "overview"])
def test_without_matplotlib(plot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install -c constraints.txt -e '\.\[plot\]'"):
        getattr(Result(busy().recording()).plot, plot)()
