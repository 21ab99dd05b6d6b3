"""Backoff: its delays, their bounds, and that a seed replays them."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.core.job import Backoff


def delays(backoff: Backoff, count: int = 5, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [backoff.seconds(made, rng) for made in range(1, count + 1)]


def test_fixed_is_always_the_same() -> None:
    assert delays(Backoff("fixed", 1.5)) == [1.5] * 5


def test_exponential_doubles_with_every_attempt_made() -> None:
    assert delays(Backoff("exponential", 0.25)) == [0.25, 0.5, 1.0, 2.0, 4.0]


def test_a_cap_ends_the_doubling() -> None:
    assert delays(Backoff("exponential", 1.0, cap=5.0)) == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert delays(Backoff("fixed", 9.0, cap=5.0)) == [5.0] * 5


def test_no_number_of_attempts_is_too_large() -> None:
    assert math.isfinite(Backoff("exponential", 1.0).base(100_000))
    assert Backoff("exponential", 1.0, cap=60.0).base(100_000) == 60.0
    assert Backoff("exponential", 0.0).base(100_000) == 0.0


def test_without_jitter_nothing_is_drawn() -> None:
    rng = random.Random(7)
    before = rng.getstate()
    Backoff("exponential", 1.0).seconds(3, rng)
    assert rng.getstate() == before


def test_a_seed_replays_the_jitter_and_another_does_not() -> None:
    backoff = Backoff("exponential", 10.0, jitter=0.5)
    assert delays(backoff, seed=1) == delays(backoff, seed=1)
    assert delays(backoff, seed=1) != delays(backoff, seed=2)


def test_jitter_fills_its_interval_evenly() -> None:
    rng = random.Random(3)
    drawn = [Backoff("fixed", 10.0, jitter=0.4).seconds(1, rng) for _ in range(4000)]
    quarters = [sum(6.0 + i <= seconds < 7.0 + i for seconds in drawn) for i in range(4)]
    assert sum(quarters) == 4000
    assert all(850 < count < 1150 for count in quarters)


@given(
    kind=st.sampled_from(["fixed", "exponential"]),
    delay=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    cap=st.none() | st.floats(0, 1000),
    made=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_every_delay_lies_within_its_bounds(
    kind: Any, delay: float, jitter: float, cap: float | None, made: int, seed: int
) -> None:
    backoff = Backoff(kind, delay, jitter=jitter, cap=cap)
    low, high = backoff.bounds(made)
    seconds = backoff.seconds(made, random.Random(seed))
    assert low <= seconds <= high
    assert cap is None or seconds <= cap
    if jitter:
        assert seconds * 1000 == pytest.approx(round(seconds * 1000)), "whole milliseconds"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"type": "linear"}, "linear"),
        ({"delay": -1.0}, "delay"),
        ({"delay": math.nan}, "delay"),
        ({"delay": math.inf}, "delay"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": 1.5}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
        ({"cap": -1.0}, "cap"),
        ({"cap": math.nan}, "cap"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Backoff(**arguments)
