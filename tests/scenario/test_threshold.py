from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter

from queuesim.results.metrics import METRICS, check_metric
from queuesim.scenario.thresholds import Threshold, ThresholdField, Where, parse_threshold

FILE = {"file": True}


def read(value: Any) -> Threshold:
    return TypeAdapter(ThresholdField).validate_python(value, context=FILE)


@pytest.mark.parametrize(
    ("text", "metric", "statistic", "operator", "limit"),
    [
        ("lost == 0", "lost", None, "==", 0.0),
        ("lost==0", "lost", None, "==", 0.0),
        ("success_rate >= 99%", "success_rate", None, ">=", 0.99),
        ("success_rate>0.99", "success_rate", None, ">", 0.99),
        ("utilisation < 95%", "utilisation", None, "<", 0.95),
        ("latency.p95 < 30s", "latency", "p95", "<", 30.0),
        ("latency.p99.9 <= 1m30s", "latency", "p99.9", "<=", 90.0),
        ("waiting.median < 0", "waiting", "median", "<", 0.0),
        ("throughput >= 60/min", "throughput", None, ">=", 1.0),
        ("retry_amplification < 1.2", "retry_amplification", None, "<", 1.2),
        ("backlog.max < 500", "backlog", "max", "<", 500.0),
        ("active.last != 0", "active", "last", "!=", 0.0),
    ],
)
def test_text(text: str, metric: str, statistic: str | None, operator: str, limit: float) -> None:
    threshold = parse_threshold(text)
    assert (threshold.metric, threshold.statistic, threshold.operator, threshold.limit) == (
        metric,
        statistic,
        operator,
        limit,
    )
    assert parse_threshold(threshold.text) == threshold


def test_a_mapping_narrows_it_down() -> None:
    written = {"latency": "p95 < 30s", "where": {"job": "a", "load": "b"}, "over": "5m", "abort": True}
    threshold = read(written)
    assert threshold == Threshold("latency", "p95", "<", 30.0, Where("a", "b"), 300.0, True, "30s")
    assert threshold.where.chosen() == {"job": "a", "load": "b"}
    assert read({"latency.p95": "< 30s", "over": "5m"}).text == "latency.p95 < 30s"
    assert read({"failed": "< 3"}) == parse_threshold("failed < 3")


@pytest.mark.parametrize(
    "written",
    ["lost == 0", "latency.p95 < 30s", {"latency": "p95 < 30s", "where": {"job": "a"}, "over": "5m", "abort": True}],
)
def test_it_survives_being_written(written: Any) -> None:
    threshold = read(written)
    assert read(TypeAdapter(ThresholdField).dump_python(threshold, mode="json")) == threshold


def test_in_python_it_may_be_given_as_it_is_and_a_window_in_seconds() -> None:
    adapter: TypeAdapter[Threshold] = TypeAdapter(ThresholdField)
    threshold = parse_threshold("lost == 0")
    assert adapter.validate_python(threshold) is threshold
    assert adapter.validate_python({"failed": "< 3", "over": 60}).over == 60.0


@pytest.mark.parametrize(
    ("operator", "below", "equal", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_it_holds_or_not(operator: str, below: bool, equal: bool, above: bool) -> None:
    threshold = parse_threshold(f"latency.p95 {operator} 30s")
    assert [threshold.holds(value) for value in (29.0, 30.0, 31.0)] == [below, equal, above]
    assert not threshold.holds(math.nan)


def test_thresholds_can_be_about_every_metric_that_is_measured() -> None:
    for metric in METRICS.values():
        for statistic in metric.statistics or (None,):
            check_metric(metric.name, statistic)
        assert not metric.knows("modus")
