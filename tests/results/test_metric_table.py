"""One table of metrics: a new row is a metric everywhere."""

from __future__ import annotations

import pytest
from metrics_script import Script
from tools import scenario_keys

import queuesim
from queuesim.experiments.figures import unit_of
from queuesim.results.metrics import METRICS, Kind, Metric, measure
from queuesim.results.plots.comparison import cell_text
from queuesim.results.readings import Statistic, Times
from queuesim.results.result import Result
from queuesim.scenario.thresholds import parse_threshold


@pytest.fixture
def overtime(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """A metric that the project doesn't have: by how much jobs took longer than two seconds."""
    metric = Metric(
        name="overtime",
        kind=Kind.SPREAD,
        unit="s",
        meaning="Seconds of work beyond two.",
        read=lambda frames, chosen, statistic: Statistic(
            Times(frames.facts, frames.jobs["finished"].to_numpy(), frames.jobs["service"].to_numpy() - 2.0), statistic
        ),
    )
    monkeypatch.setitem(METRICS, metric.name, metric)
    return metric


def run() -> Result:
    script = Script(100.0)
    for number in range(10):
        script.attempt(script.job(number * 5.0), number * 5.0, number * 5.0 + 2.5 + number / 10)
    return Result(script.recording())


def test_it_is_measured(overtime: Metric) -> None:
    assert measure(run(), "overtime", "max") == pytest.approx(1.4)
    assert measure(run(), "overtime", "p50", start=0.0, end=11.0) == pytest.approx(0.55)


def test_thresholds_take_it_and_judge_by_it(overtime: Metric) -> None:
    assert parse_threshold("overtime.p95 < 300ms").limit == 0.3
    with pytest.raises(ValueError, match=r"overtime needs a statistic: overtime\.mean"):
        parse_threshold("overtime < 1s")
    result = queuesim.run(
        {
            "name": "slow",
            "duration": "1m",
            "jobs": {"mail": {"service": "3s"}},
            "load": [{"name": "steady", "constant": "6/min"}],
            "thresholds": ["overtime.max <= 0.5s", {"overtime": "mean < 2s", "over": "10s"}],
        }
    )
    rows = result.checks[result.checks["kind"] == "threshold"]
    assert rows["value"].tolist() == pytest.approx([1.0, 1.0])
    assert rows["status"].tolist() == ["failed", "passed"]
    assert set(rows["unit"]) == {"s"}
    assert rows["at"].iloc[0] == 13.0  # the first job was done


def test_sweeps_and_plots_show_it_in_its_unit(overtime: Metric) -> None:
    assert unit_of("overtime.p95") == "s"
    assert cell_text("overtime.p95", 0.0123) == "12.3ms"


def test_the_documentation_must_have_it(overtime: Metric) -> None:
    """The page is made of the table, and test_pages fails as long as it lacks a row."""
    page = scenario_keys.PAGE.read_text()
    made = scenario_keys.filled(page)
    assert "| `overtime` | seconds | `mean`, `median`," in made
    assert "| Seconds of work beyond two. |" in made
    assert made != page
