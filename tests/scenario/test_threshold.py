from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from queuesim.results.metrics import METRICS, check_metric
from queuesim.scenario.thresholds import Threshold, ThresholdField, Where, parse_threshold

FILE = {"file": True}


def read(value: Any) -> Threshold:
    return TypeAdapter(ThresholdField).validate_python(value, context=FILE)


def problem(value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        read(value)
    return caught.value.errors()[0]["msg"]


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


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lost = 0", '"lost = 0" is not a threshold: write it as lost == 0 or latency.p95 < 30s'),
        ("lost", '"lost" is not a threshold: write it as lost == 0 or latency.p95 < 30s'),
        (5, "5 is not a threshold: write it as lost == 0 or latency.p95 < 30s"),
        ("latncy.p95 < 30s", 'unknown metric "latncy"; did you mean "latency"? known: '),
        ("latency < 30s", "latency needs a statistic: latency.mean, latency.median"),
        ("latency.p9x < 30s", 'latency: unknown statistic "p9x"; did you mean "p9'),
        ("latency.avrage < 30s", 'latency: unknown statistic "avrage"; known: mean'),
        ("backlog.p95 < 30", 'backlog: unknown statistic "p95"; known: mean, min, max, last'),
        ("lost.mean == 0", 'lost is a single number: write it without ".mean"'),
        ("latency.p95 < 30", '"30" is not a duration: it has no unit: write 30s or 30ms'),
        ("throughput > 5", '"5" is not a rate: it has no unit: write 5/s or 5/min'),
        ("throughput > 5s", '"5s" is not a rate'),
        ("lost == 0s", '"0s" is not a number: lost has no unit'),
        ("failed < 5%", '"5%" is not a number: failed has no unit'),
        ("failed < -1", "-1 must be 0 or more, and finite"),
        ("failed < nan", "nan must be 0 or more, and finite"),
        ("backlog.max < inf", "inf must be 0 or more, and finite"),
        ("success_rate >= 99", "99 is too large for success_rate: write 99%"),
        ("success_rate >= 101%", "101% is too large for success_rate: it is 100% at most"),
        ("success_rate >= 5/s", '"5/s" is not a number'),
        ({}, "a threshold is about one metric, not 0; known: added"),
        ({"failed": "< 3", "retries": "< 4"}, "a threshold is about one metric, not 2; known: added"),
        ({"faild": "< 3"}, 'unknown metric "faild"; did you mean "failed"? allowed here: '),
        ({"failed": "< 3", "abrot": True}, 'unknown metric "abrot"; did you mean "abort"? allowed here: '),
        ({"failed": 3}, 'failed: 3 is not a condition: write it as "< 30s" or "p95 < 30s"'),
        ({"latency.p95": "p99 < 30s"}, 'latency.p95: "p99 < 30s" is not a condition'),
        ({"failed": "< 3", "over": 3}, "over: 3 is not a duration: write it as 5m or 30s"),
        ({"failed": "< 3", "over": "3"}, '"3" is not a duration'),
        ({"failed": "< 3", "over": "0s"}, "over: a window must be longer than 0"),
        ({"failed": "< 3", "abort": "yes"}, 'abort: "yes" is neither true nor false'),
        ({"failed": "< 3", "where": "a"}, 'where: "a" is not a mapping with job or load'),
        ({"failed": "< 3", "where": {"jobs": "a"}}, 'where: unknown key "jobs"; did you mean "job"? allowed here:'),
        ({"failed": "< 3", "where": {"job": 3}}, "where.job: 3 is not a name"),
    ],
)
def test_what_is_no_threshold_is_refused(value: Any, message: str) -> None:
    assert problem(value).startswith(message)
