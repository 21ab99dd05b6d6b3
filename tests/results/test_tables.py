"""Tables for notebooks."""

from __future__ import annotations

import math
import re

import pytest

import queuesim
from queuesim.results.markup import html_table, rounded
from queuesim.results.result import Result

RUN = {
    "name": "thirds",
    "duration": "7m",
    "jobs": {"mail": {"service": {"exponential": "130ms"}}},
    "load": [{"name": "steady", "poisson": "1/s"}],
}


@pytest.fixture(scope="module")
def result() -> Result:
    return queuesim.run(RUN)


def test_numbers_have_four_digits_and_whole_ones_all_of_theirs() -> None:
    assert [rounded(value) for value in (1 / 3, 123456.789, 2.0, 1234567, math.nan, True, "a", None)] == [
        *("0.3333", "1.235e+05", "2", "1,234,567", "–", "True", "a", "None")
    ]


def test_text_is_escaped() -> None:
    assert "&lt;b&gt;" in html_table(("<b>",), [("<b>",)])
    assert "<b>" not in html_table(("<b>",), [("<b>",)])


def test_nothing_that_a_notebook_shows_of_a_run_has_sixteen_digits(result: Result) -> None:
    frame = queuesim.sweep(RUN, {"workers.concurrency": [1, 3], "load": [1.0, 1 / 3]})
    shown = {
        "sweep": frame._repr_html_(),
        "summary": result.summary()._repr_html_(),
        "comparison": queuesim.compare(result, result)._repr_html_(),
    }
    for name, text in shown.items():
        assert not re.search(r"\d\.\d{7,}", text), name
    assert "latency.p95, s" in shown["sweep"]
    assert "throughput, 1/s" in shown["sweep"]
    assert "jobs.latency.p95" in shown["summary"]
    # what is taken out of it is as exact as ever
    assert frame["load"].tolist() == [1.0, 1 / 3, 1.0, 1 / 3]


def test_runs_are_compared_by_the_public_name(result: Result) -> None:
    comparison = queuesim.compare(result, queuesim.run(RUN, seed=7))
    assert queuesim.compare(result, result).identical
    assert not comparison.identical


def test_vary_takes_whatever_run_takes() -> None:
    assert queuesim.vary(RUN, {"workers.concurrency": 7}).workers[0].concurrency == 7
    assert queuesim.vary("scenarios/bullmq-steady.yaml", {"duration": "1m"}).duration == 60
