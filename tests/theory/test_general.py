"""M/G/1, M/D/1 and M/D/c against each other, older formulas and simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from queuesim.theory.models import MD1, MG1, MM1, MDc, MMc

utilisations = st.floats(0.01, 0.99)
mean_services = st.floats(1e-3, 1e3)


def lindley(gaps: np.ndarray, services: np.ndarray) -> np.ndarray:
    """Waiting times of one server, by Lindley 1952: w' = max(0, w + service - gap), from an empty system."""
    walk = np.concatenate(([0.0], np.cumsum(services[:-1] - gaps[1:])))
    return np.asarray(walk - np.minimum.accumulate(walk))


@given(utilisation=utilisations, mean_service=mean_services)
def test_mg1_becomes_mm1_and_md1(utilisation: float, mean_service: float) -> None:
    rate = utilisation / mean_service
    exponential, constant = MG1(rate, mean_service, 1.0), MG1(rate, mean_service, 0.0)
    for general, special_case in ((exponential, MM1(rate, mean_service)), (constant, MD1(rate, mean_service))):
        assert general.mean_waiting_time == pytest.approx(special_case.mean_waiting_time)
        assert general.mean_time_in_system == pytest.approx(special_case.mean_time_in_system)
        assert general.probability_of_waiting == special_case.probability_of_waiting


def test_mg1_takes_its_moments_from_a_service() -> None:
    @dataclass
    class Uniform:
        mean: float = 2.0
        variance: float = 4.0 / 12

    assert MG1.of(0.3, Uniform()) == MG1(0.3, 2.0, 1 / 12)


@pytest.mark.parametrize(("scv", "rate"), [(0.0, 0.8), (0.5, 0.8), (2.0, 0.6)])
def test_mg1_agrees_with_a_lindley_recursion(scv: float, rate: float) -> None:
    rng, jobs = np.random.default_rng(7), 1_000_000
    services = rng.gamma(1 / scv, scv, jobs) if scv else np.ones(jobs)
    waiting = lindley(rng.exponential(1 / rate, jobs), services)[10_000:]
    model = MG1(rate, 1.0, scv)
    assert waiting.mean() == pytest.approx(model.mean_waiting_time, rel=0.03)
    assert (waiting > 1e-12).mean() == pytest.approx(model.probability_of_waiting, abs=0.005)


@pytest.mark.parametrize("utilisation", [0.05, 0.5, 0.9])
def test_md1_distribution_agrees_with_the_older_alternating_sum(utilisation: float) -> None:
    # Erlang 1909: (1 - rho) sum over k <= t / D of (-u)**k e**u / k! with u = lambda (t - k D); good for short times
    def alternating(t: float) -> float:
        terms = (
            (-utilisation * (t - k)) ** k * math.exp(utilisation * (t - k)) / math.factorial(k)
            for k in range(int(t) + 1)
        )
        return (1 - utilisation) * math.fsum(terms)

    model = MD1(utilisation, 1.0)
    for t in np.arange(0.0, 12.0, 0.37):
        assert model.waiting_cdf(float(t)) == pytest.approx(alternating(float(t)), abs=1e-9)


@pytest.mark.parametrize("utilisation", [0.2, 0.8, 0.97])
def test_md1_distribution_has_the_stated_mean_and_a_positive_tail(utilisation: float) -> None:
    model = MD1(2 * utilisation, 0.5)
    times = np.linspace(0.0, 0.5 * 40 / (1 - utilisation), 801)
    beyond = np.array([1 - model.waiting_cdf(float(t)) for t in times])
    assert np.all(np.diff(beyond) <= 1e-12)
    assert np.trapezoid(beyond, times) == pytest.approx(model.mean_waiting_time, rel=2e-3)
    assert beyond[0] == pytest.approx(model.probability_of_waiting)
    assert beyond[-1] < 1e-12


@settings(deadline=None)  # near saturation the distribution is long
@given(utilisation=utilisations, probability=st.floats(0.0, 0.999))
def test_md1_quantiles_invert_the_distribution(utilisation: float, probability: float) -> None:
    model = MD1(utilisation, 1.0)
    seconds = model.waiting_quantile(probability)
    assert model.waiting_cdf(seconds) >= probability
    assert seconds == 0 or model.waiting_cdf(seconds * (1 - 1e-9)) <= probability
    assert model.time_in_system_quantile(probability) == seconds + 1
    assert model.time_in_system_cdf(seconds + 1) == pytest.approx(model.waiting_cdf(seconds), abs=1e-9)


@given(utilisation=utilisations, mean_service=mean_services)
def test_mdc_with_one_server_is_md1(utilisation: float, mean_service: float) -> None:
    many, one = MDc(utilisation / mean_service, mean_service, 1), MD1(utilisation / mean_service, mean_service)
    assert many.probability_of_waiting == pytest.approx(one.probability_of_waiting)
    assert many.mean_waiting_time == pytest.approx(one.mean_waiting_time)


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.5), (2, 0.9), (5, 0.8), (20, 0.95), (50, 0.9)])
def test_mdc_agrees_with_crommelins_series(servers: int, utilisation: float) -> None:
    # the other form of Crommelin 1932: sums over Poisson tails, by way of Spitzer's identity
    number = np.arange(1, 40_001, dtype=float)
    load = utilisation * servers
    at_least = special.pdtrc(number * servers - 1, number * load)
    above = special.pdtrc(number * servers, number * load)
    model = MDc(load, 1.0, servers)
    assert model.probability_of_waiting == pytest.approx(-math.expm1(-np.sum(at_least / number)), rel=1e-9)
    assert model.mean_queue_length == pytest.approx(np.sum(load * at_least - servers * above), rel=1e-9)


def test_mdc_near_saturation_waits_half_as_long_as_mmc() -> None:
    # heavy traffic (Kingman 1965; Koellerstroem 1974): waiting is in proportion to (1 + scv) / 2, whatever c is
    assert MDc(3.9996, 1.0, 4).mean_waiting_time / MMc(3.9996, 1.0, 4).mean_waiting_time == pytest.approx(0.5, rel=1e-3)


def test_mdc_never_goes_below_zero_where_digits_run_out() -> None:
    idle = MDc(10.0, 1.0, 60)
    assert idle.mean_waiting_time == pytest.approx(0.0, abs=1e-12)
    assert idle.mean_waiting_time >= 0
    assert 0 <= idle.probability_of_waiting < 1e-12


@pytest.mark.parametrize("scv", [-0.1, math.nan, math.inf])
def test_an_impossible_variation_is_named(scv: float) -> None:
    with pytest.raises(ValueError):
        MG1(0.5, 1.0, scv)


def test_saturation_is_named_with_the_parameters() -> None:
    with pytest.raises(ValueError):
        MG1(0.6, 2.0, 1.5)
    with pytest.raises(ValueError):
        MDc(4.0, 1.0, 4)
