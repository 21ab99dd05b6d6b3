"""Metrics over spans of a run: known answers, and what is refused."""

from __future__ import annotations

import math

import pytest
from metrics_script import Script

from queuesim.results.metrics import METRICS, check_metric, measure
from queuesim.results.readings import percentile_of
from queuesim.results.result import Result

DATABASE = ("DatabaseError", "Database", True)
INVALID = ("ValidationError", "Validation", False)


def run() -> Result:
    """Six jobs in 100 s, the first of them in the warm-up."""
    script = Script(100.0, warmup=10.0, concurrency=2)
    script.attempt(script.job(5.0), 10.0, 20.0, slot=1)
    mail = script.job(10.0)
    script.attempt(mail, 12.0, 14.0, "retried", error=DATABASE, backoff=6.0)
    script.attempt(mail, 30.0, 31.0, ready=20.0)
    script.attempt(script.job(40.0, name="sms", load="burst"), 40.0, 50.0, "failed", error=INVALID)
    script.attempt(script.job(60.0, name="sms", load="burst"), 64.0, 100.0)
    script.job(70.0, left="waiting")
    script.job(80.0)  # lost
    script.event(33.0, "stalled", mail)
    script.event(5.0, "stalled", 1)
    return Result(script.recording())


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("added", 5),
        ("completed", 2),
        ("failed", 1),
        ("dead_letters", 1),
        ("unfinished", 1),
        ("removed", 0),
        ("lost", 1),
        ("attempts", 4),
        ("retries", 1),
        ("stalled", 1),
        ("success_rate", 2 / 3),
        ("throughput", 3 / 90),  # the job of the warm-up was completed in measured time
        ("retry_amplification", 4 / 3),
        ("utilisation", (10 + 2 + 1 + 10 + 36) / 180),
        ("latency.mean", (21 + 10 + 40) / 3),
        ("latency.max", 40),
        ("latency.min", 10),
        ("latency.median", 21),
        ("latency.p50", 21),
        ("latency.p100", 40),
        ("waiting.mean", 2),
        ("waiting.std", math.sqrt(8 / 3)),
        ("service.max", 36),
        ("backlog.max", 1),
        ("backlog.last", 1),
        ("backlog.min", 0),
        ("backlog.mean", (2 + 10 + 4 + 30) / 90),
        ("active.mean", 59 / 90),
        ("active.max", 2),
        ("active.last", 0),
    ],
)
def test_over_the_whole_run(metric: str, expected: float) -> None:
    name, _, statistic = metric.partition(".")
    assert measure(run(), name, statistic or None) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "start", "end", "expected"),
    [
        ("added", 40.0, 60.0, 1),  # what happens at the end of a span is not in it
        ("completed", 90.0, 100.0, 1),  # but at the end of the run it is
        ("completed", 0.0, 25.0, 0),  # a job of the warm-up counts for nothing
        ("unfinished", 0.0, 30.0, 1),
        ("unfinished", 0.0, 31.0, 1),
        ("unfinished", 0.0, 32.0, 0),
        ("throughput", 20.0, 40.0, 2 / 20),
        ("utilisation", 40.0, 60.0, 10 / 40),
        ("backlog.mean", 20.0, 40.0, 0.5),
        ("backlog.last", 0.0, 25.0, 1),
        ("latency.mean", 45.0, 55.0, 10),
        ("waiting.mean", 60.0, 70.0, 4),
    ],
)
def test_over_a_span(metric: str, start: float, end: float, expected: float) -> None:
    name, _, statistic = metric.partition(".")
    assert measure(run(), name, statistic or None, start=start, end=end) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "where", "expected"),
    [
        ("added", {"job": "sms"}, 2),
        ("added", {"job": ["sms", "mail"]}, 5),
        ("added", {"job": "mail", "load": "burst"}, 0),
        ("added", {"job": None, "load": "burst"}, 2),
        ("attempts", {"job": "mail"}, 2),
        ("stalled", {"job": "sms"}, 0),
        ("latency.mean", {"job": "mail"}, 21),
        ("utilisation", {"load": "burst"}, 46 / 180),
        ("backlog.mean", {"job": "sms"}, 4 / 90),
        ("lost", {"job": "fax"}, 0),
    ],
)
def test_of_some_jobs(metric: str, where: dict[str, str], expected: float) -> None:
    name, _, statistic = metric.partition(".")
    assert measure(run(), name, statistic or None, where) == pytest.approx(expected)


def test_no_warm_up_excuses_a_loss() -> None:
    script = Script(100.0, warmup=50.0)
    script.job(1.0)
    result = Result(script.recording())
    assert measure(result, "lost") == 1
    assert measure(result, "unfinished") == 0


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_to_measure(metric: str) -> None:
    statistic = {"spread": "p95", "level": "mean"}.get(METRICS[metric].kind)
    value = measure(Result(Script().recording()), metric, statistic)
    nothing = metric in ("success_rate", "retry_amplification", "latency", "waiting", "service")
    assert math.isnan(value) if nothing else value == 0


@pytest.mark.parametrize("metric", ["throughput", "utilisation"])
def test_no_time_to_measure(metric: str) -> None:
    assert math.isnan(measure(run(), metric, start=50.0, end=50.0))


@pytest.mark.parametrize(
    ("metric", "statistic", "told"),
    [
        ("latenzy", "p95", 'unknown metric "latenzy"; did you mean "latency"'),
        ("latency", None, "needs a statistic"),
        ("latency", "last", 'latency: unknown statistic "last"'),
        ("latency", "p101", 'unknown statistic "p101"'),
        ("latency", "p", 'unknown statistic "p"'),
        ("lost", "mean", "single number"),
        ("backlog", "p95", 'backlog: unknown statistic "p95"'),
    ],
)
def test_refused(metric: str, statistic: str | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_metric(metric, statistic)


def test_where_takes_jobs_and_loads_only() -> None:
    with pytest.raises(ValueError, match="worker"):
        measure(run(), "added", where={"worker": "w1"})


@pytest.mark.parametrize("metric", METRICS)
def test_whatever_a_threshold_may_name_can_be_measured(metric: str) -> None:
    for statistic in METRICS[metric].statistics or (None,):
        assert not math.isnan(measure(run(), metric, statistic))


def test_percentiles() -> None:
    assert percentile_of("p99.9") == 99.9
    assert percentile_of("mean") is None
