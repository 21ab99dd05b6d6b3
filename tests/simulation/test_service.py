from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from queuesim.simulation.random import Constant, Empirical, Exponential, Gamma, Lognormal, Service, Streams, Uniform

MODELS: list[Service] = [
    Constant(0.08),
    Constant(0.0),
    Exponential(0.12),
    Lognormal.from_percentile(0.12, 95, 0.4),
    Lognormal(0.5, 0.0),
    Gamma(0.2, 4.0),
    Gamma(0.2, 0.5),
    Uniform(0.0, 0.3),
    Empirical((0.1, 0.2, 0.2, 0.5)),
]

DISTRIBUTIONS = [
    (Exponential(0.12), stats.expon(scale=0.12)),
    (Lognormal(0.12, 0.8), stats.lognorm(s=0.8, scale=0.12 * math.exp(-0.32))),
    (Gamma(0.2, 4.0), stats.gamma(4.0, scale=0.05)),
    (Uniform(0.1, 0.3), stats.uniform(0.1, 0.2)),
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_samples_have_the_mean_and_variance_that_theory_reads(model: Service) -> None:
    sample = model.sampler(Streams(1).named("service"))
    values = np.array([sample() for _ in range(200_000)])
    assert (values >= 0).all()
    # six standard errors; the variance's own is taken from the sample
    error = 6 * math.sqrt(model.variance / len(values))
    assert values.mean() == pytest.approx(model.mean, abs=error + 1e-12)
    squares = (values - model.mean) ** 2
    assert squares.mean() == pytest.approx(model.variance, abs=6 * squares.std() / math.sqrt(len(values)) + 1e-12)


@pytest.mark.parametrize(("model", "distribution"), DISTRIBUTIONS, ids=lambda value: type(value).__name__)
def test_samples_follow_the_distribution(model: Service, distribution: stats.rv_continuous) -> None:
    sample = model.sampler(Streams(2).named("service"))
    test = stats.kstest([sample() for _ in range(20_000)], distribution.cdf)
    assert test.pvalue > 1e-4
    assert model.mean == pytest.approx(distribution.mean())
    assert model.variance == pytest.approx(distribution.var())


@pytest.mark.parametrize("model", [model for model in MODELS if model.mean], ids=repr)
def test_scv_is_variance_over_mean_squared(model: Service) -> None:
    assert model.scv == pytest.approx(model.variance / model.mean**2)


def test_the_same_stream_gives_the_same_times() -> None:
    first, second = (Gamma(0.2, 3.0).sampler(Streams(9).named("x")) for _ in range(2))
    assert [first() for _ in range(5000)] == [second() for _ in range(5000)]


@given(
    mean=st.floats(1e-4, 1e4),
    percentile=st.sampled_from([90, 95, 99]),
    part=st.floats(0, 1),
)
def test_a_lognormal_has_the_percentile_that_made_it(mean: float, percentile: int, part: float) -> None:
    low, high = Lognormal.percentile_bounds(mean, percentile)
    value = low * (high / low) ** part
    model = Lognormal.from_percentile(mean, percentile, min(value, high))
    assert model.mean == mean
    assert model.percentile(percentile) == pytest.approx(value, rel=1e-6)
    # the smaller of the two roots
    assert 0 <= model.sigma <= stats.norm.ppf(percentile / 100) + 1e-6


@given(mean=st.floats(1e-4, 1e4), part=st.floats(1e-3, 1))
def test_a_lognormal_has_the_median_that_made_it(mean: float, part: float) -> None:
    assert Lognormal.from_percentile(mean, 50, mean * part).percentile(50) == pytest.approx(mean * part)


def test_an_impossible_percentile_is_refused_with_its_bounds() -> None:
    # exp(1.6449**2 / 2) is 3.868
    with pytest.raises(ValueError, match=r"p95 of a lognormal with mean 0.12 s can't be 0.5 s.* to 0.4642 s"):
        Lognormal.from_percentile(0.12, 95, 0.5)
    with pytest.raises(ValueError, match=r"can't be 0.1 s: it is from 0.12 s"):
        Lognormal.from_percentile(0.12, 95, 0.1)
    with pytest.raises(ValueError, match=r"p50 .* can't be 0.2 s: it is from 0 s to 0.12 s"):
        Lognormal.from_percentile(0.12, 50, 0.2)
    with pytest.raises(ValueError, match="from 50 to below 100, not 100"):
        Lognormal.from_percentile(0.12, 100, 0.2)


def test_gamma_by_its_variation() -> None:
    assert Gamma.from_cv(0.2, 0.5) == Gamma(0.2, 4.0)
    assert Gamma.from_std(0.2, 0.1) == Gamma(0.2, 4.0)
    assert Gamma.from_cv(0.2, 1.0).scv == 1.0


def test_an_empirical_time_draws_only_what_was_measured() -> None:
    sample = Empirical((0.1, 0.5)).sampler(Streams(1).named("x"))
    assert {sample() for _ in range(200)} == {0.1, 0.5}


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, -math.inf])
def test_numbers_that_are_no_times_are_refused(bad: float) -> None:
    makers = [
        lambda: Constant(bad),
        lambda: Exponential(bad),
        lambda: Lognormal(bad, 1.0),
        lambda: Lognormal(1.0, bad),
        lambda: Lognormal.from_percentile(1.0, 95, bad),
        lambda: Gamma(bad, 1.0),
        lambda: Gamma(1.0, bad),
        lambda: Gamma.from_cv(1.0, bad),
        lambda: Gamma.from_std(1.0, bad),
        lambda: Uniform(bad, 1.0),
        lambda: Uniform(0.0, bad),
        lambda: Empirical((1.0, bad)),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=f"and finite, not {bad:g}"):
            make()


def test_zero_is_refused_where_nothing_would_vary() -> None:
    for make in (lambda: Exponential(0.0), lambda: Gamma(0.0, 1.0), lambda: Uniform(0.0, 0.0)):
        with pytest.raises(ValueError, match="above 0"):
            make()
    with pytest.raises(ValueError, match="low < high"):
        Uniform(2.0, 1.0)
    with pytest.raises(ValueError, match="at least one value"):
        Empirical(())
    with pytest.raises(ValueError, match="take a constant 0"):
        Empirical((0.0, 0.0))
