"""Limits: what a rate limit and a retention rule may be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from queuesim.core.job import KEEP_ALL, Keep, RateLimit


@pytest.mark.parametrize(
    ("max_jobs", "duration"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0), (1, math.nan), (1, math.inf)]
)
def test_a_rate_limit_needs_a_start_and_a_time(max_jobs: int, duration: float) -> None:
    with pytest.raises(ValueError, match="rate limit needs"):
        RateLimit(max_jobs, duration)


@pytest.mark.parametrize("rule", [{"count": -1}, {"age": -1.0}, {"age": math.nan}, {"limit": 0}])
def test_a_retention_rule_that_makes_no_sense(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keep needs"):
        Keep(**rule)


def test_nothing_is_evicted_by_default() -> None:
    assert Keep() == KEEP_ALL
    assert (KEEP_ALL.count, KEEP_ALL.age) == (None, None)
