"""Arrival times: exact where they are even, in the closed form where rates change, by count where they are random."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from queuesim.scenario.load import Arrivals, Segment, arrival_times
from queuesim.simulation.random import Exponential, Streams

Stages = list[tuple[float, float, float]]


def even() -> float:
    return 1.0


def random(name: str = "a", seed: int = 1) -> Callable[[], float]:
    return Exponential(1.0).sampler(Streams(seed).named(name))


def segments(stages: Iterable[tuple[float, float, float]]) -> list[Segment]:
    """Segments from (duration, rate at the start, rate at the end), one after the other."""
    made, start = [], 0.0
    for duration, rate, target in stages:
        made.append(Segment(start, duration, rate, target))
        start += duration
    return made


def expected(stages: Stages) -> float:
    return math.fsum((rate + target) / 2 * duration for duration, rate, target in stages)


def test_even_arrivals_are_one_over_the_rate_apart() -> None:
    assert list(arrival_times(segments([(10, 0.5, 0.5)]), even)) == [2, 4, 6, 8, 10]


def test_nothing_arrives_at_a_rate_of_zero() -> None:
    assert not list(arrival_times(segments([(1e9, 0, 0)]), even))
    assert not list(arrival_times(segments([(math.inf, 0, 0)]), even))


def test_who_is_due_at_once_waits_for_a_rate_above_zero() -> None:
    gaps = iter([0.0, 0.5, 2.0])
    assert list(arrival_times(segments([(3, 0, 0), (1, 1, 1)]), lambda: next(gaps))) == [3, 3.5]
    gaps = iter([0.0, 2.0])
    assert list(arrival_times(segments([(1, 0, 2)]), lambda: next(gaps))) == [0]


def test_a_pause_between_two_stages_only_delays() -> None:
    stages = [(2.5, 1, 1), (100, 0, 0), (2, 1, 1)]
    # the third needs half a job's worth of the last stage
    assert list(arrival_times(segments(stages), even)) == [1, 2, 103, 104]


def test_what_a_stage_left_over_counts_in_the_next() -> None:
    # 0.75 jobs' worth in the first stage, the last quarter at 0.5/s
    assert list(arrival_times(segments([(0.75, 1, 1), (2, 0.5, 0.5)]), even)) == [1.25]


def test_a_ramp_from_zero_follows_the_square_root() -> None:
    # the rate is t/10, so that t**2/20 jobs have come
    times = list(arrival_times(segments([(20, 0, 2)]), even))
    assert times == pytest.approx([math.sqrt(20 * k) for k in range(1, 21)])
    assert times[-1] == 20


def test_a_ramp_to_zero_is_the_mirror_image() -> None:
    up = [0.0, *arrival_times(segments([(20, 0, 2)]), even)]
    down = [0.0, *arrival_times(segments([(20, 2, 0)]), even)]
    assert down == pytest.approx([20 - time for time in reversed(up)])


def test_a_ramp_between_two_rates_solves_the_quadratic() -> None:
    # 3 t + t**2 / 2 jobs have come at t
    times = list(arrival_times(segments([(4, 3, 7)]), even))
    assert times == pytest.approx([-3 + math.sqrt(9 + 2 * k) for k in range(1, 21)])


def test_a_steady_rate_may_go_on_for_ever() -> None:
    assert list(islice(arrival_times(segments([(math.inf, 4, 4)]), even), 3)) == [0.25, 0.5, 0.75]


def test_stages_of_a_file_become_these_times() -> None:
    arrivals = Arrivals.model_validate(
        {"from": 1.0, "stages": [{"duration": 2.0, "target": 3.0}, {"duration": 2.0, "rate": 0.5}]}
    )
    times = list(arrival_times(arrivals.segments(3.9), even))
    # t + t**2 / 2 jobs by t = 2, then one every 2 s, of which the last would come at 4
    assert times == pytest.approx([math.sqrt(3) - 1, math.sqrt(5) - 1, math.sqrt(7) - 1, 2])


@pytest.mark.parametrize("seed", range(3))
def test_poisson_arrivals_have_exponential_gaps(seed: int) -> None:
    times = np.array([*arrival_times(segments([(5000, 2, 2)]), random(seed=seed))])
    assert abs(len(times) - 10_000) < 4 * math.sqrt(10_000)
    assert stats.kstest(np.diff(times), stats.expon(scale=0.5).cdf).pvalue > 0.01
    # given how many came, when they came is uniform
    assert stats.kstest(times / 5000, stats.uniform.cdf).pvalue > 0.01


def test_the_number_of_poisson_arrivals_is_poisson() -> None:
    counts = [len([*arrival_times(segments([(10, 1, 1)]), random(f"{i}"))]) for i in range(2000)]
    assert np.mean(counts) == pytest.approx(10, abs=4 * math.sqrt(10 / 2000))
    assert np.var(counts) == pytest.approx(10, abs=4 * 10 * math.sqrt(2.2 / 2000))


def test_poisson_arrivals_on_a_ramp_come_as_often_as_it_says() -> None:
    times = np.array([*arrival_times(segments([(1000, 0, 20)]), random())])
    # by t there are t**2 / 100 in the mean: (t / 1000)**2 is uniform
    assert abs(len(times) - 10_000) < 4 * math.sqrt(10_000)
    assert stats.kstest((times / 1000) ** 2, stats.uniform.cdf).pvalue > 0.01


rates = st.one_of(st.just(0.0), st.floats(1e-6, 1000))
stage = st.one_of(
    st.tuples(st.floats(1e-3, 1000), rates, rates),
    st.tuples(st.floats(1e-3, 1000), rates).map(lambda steady: (*steady, steady[1])),
)
short_stages = st.lists(stage, min_size=1, max_size=5).filter(lambda stages: expected(stages) < 2000)


@given(short_stages, st.booleans())
def test_times_ascend_within_the_stages_that_have_a_rate(stages: Stages, is_random: bool) -> None:
    times = [*arrival_times(segments(stages), random() if is_random else even)]
    assert times == sorted(times)
    for time in times:
        assert any(
            part.start <= time <= (part.start + part.duration) * (1 + 1e-12) and part.rate + part.target > 0
            for part in segments(stages)
        )


@given(short_stages)
def test_as_many_come_as_are_expected(stages: Stages) -> None:
    count = len([*arrival_times(segments(stages), even)])
    # the last one may be on the very edge
    assert math.floor(expected(stages) * (1 - 1e-12) - 1e-12) <= count <= math.floor(expected(stages) * (1 + 1e-12))


@given(short_stages)
def test_each_comes_when_the_integral_of_the_rate_says_so(stages: Stages) -> None:
    def passed(time: float) -> float:
        total = 0.0
        for part in segments(stages):
            t = min(max(time - part.start, 0.0), part.duration)
            total += part.rate * t + (part.target - part.rate) * t * t / (2 * part.duration)
        return total

    for k, time in enumerate(arrival_times(segments(stages), even), start=1):
        assert passed(time) == pytest.approx(k, rel=1e-6, abs=1e-6)
