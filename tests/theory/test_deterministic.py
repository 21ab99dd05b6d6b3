"""M/D/1 and M/D/c against older formulas, Crommelin's roots, a chain solved by linear algebra, and a simulation."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from queuesim.theory import MD1, MDc, MMc, UnstableError, chains

utilisations = st.floats(0.01, 0.99)
mean_services = st.floats(1e-3, 1e3)


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


def roots(load: float, servers: int) -> np.ndarray:
    """The solutions of z**c = exp(a (z - 1)) inside the unit circle, by iteration of z = w exp(rho (z - 1))."""
    unit = np.exp(2j * np.pi * np.arange(1, servers) / servers)
    found = np.zeros_like(unit)
    while True:
        step = unit * np.exp(load / servers * (found - 1)) - found
        found = found + step
        if np.all(np.abs(step) < 2e-15):
            return found


@pytest.mark.parametrize(("servers", "utilisation"), [(2, 0.3), (5, 0.8), (10, 0.95), (100, 0.9), (400, 0.98)])
def test_mdc_agrees_with_crommelins_roots(servers: int, utilisation: float) -> None:
    # Crommelin 1932: P(no wait) and Lq by the roots of the generating function's denominator
    load, found = utilisation * servers, roots(utilisation * servers, servers)
    model = MDc(load, 1.0, servers)
    free = (servers - load) / np.prod(1 - found).real
    queue = (load**2 - servers * (servers - 1)) / (2 * (servers - load)) + np.sum(1 / (1 - found)).real
    assert 1 - model.probability_of_waiting == pytest.approx(free, rel=1e-10)
    assert model.mean_queue_length == pytest.approx(queue, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.7), (3, 0.8), (8, 0.6)])
def test_mdc_agrees_with_its_chain(servers: int, utilisation: float) -> None:
    load, states = utilisation * servers, 200
    queue = chains.stationary_of_steps(chains.constant_service(load, servers, states))
    model = MDc(load, 1.0, servers)
    assert queue @ np.arange(states) == pytest.approx(model.mean_queue_length, rel=1e-9)
    arrivals = [math.exp(k * math.log(load) - load - math.lgamma(k + 1)) for k in range(servers)]
    free = sum(queue[n] * arrivals[k] for n in range(servers) for k in range(servers - n))
    assert 1 - model.probability_of_waiting == pytest.approx(free, rel=1e-10)


@pytest.mark.parametrize(("servers", "utilisation"), [(2, 0.8), (5, 0.9), (30, 0.95)])
def test_mdc_distribution_has_the_stated_mean(servers: int, utilisation: float) -> None:
    model = MDc(utilisation * servers, 2.0, servers) if servers == 1 else MDc(utilisation * servers / 2, 2.0, servers)
    # the distribution is smooth within a service time: a grid with its multiples among the points
    times = np.linspace(0.0, 60.0 / (1 - utilisation) / servers + 4.0, 4001)
    beyond = np.array([1 - model.waiting_cdf(float(t)) for t in times])
    assert np.all(np.diff(beyond) <= 1e-12)
    assert np.trapezoid(beyond, times) == pytest.approx(model.mean_waiting_time, rel=2e-3)
    assert beyond[0] == pytest.approx(model.probability_of_waiting)
    assert model.waiting_cdf(-1.0) == 0


def test_mdc_agrees_with_a_simulation() -> None:
    model, rng, jobs = MDc(4.5, 1.0, 5), np.random.default_rng(8), 300_000
    free, waiting = [0.0] * 5, np.empty(jobs)
    for number, arrival in enumerate(np.cumsum(rng.exponential(1 / 4.5, jobs)).tolist()):
        start = max(arrival, free[0])
        waiting[number] = start - arrival
        heapq.heapreplace(free, start + 1.0)
    settled = waiting[5_000:]
    assert settled.mean() == pytest.approx(model.mean_waiting_time, rel=0.05)
    for probability in (0.5, 0.95, 0.99):
        assert np.quantile(settled, probability) == pytest.approx(model.waiting_quantile(probability), rel=0.06)


@given(servers=st.integers(1, 50), utilisation=utilisations, probability=st.floats(0.0, 0.999))
@settings(max_examples=30, deadline=None)
def test_mdc_quantiles_invert_the_distribution(servers: int, utilisation: float, probability: float) -> None:
    model = MDc(utilisation * servers, 1.0, servers)
    seconds = model.waiting_quantile(probability)
    assert model.waiting_cdf(seconds) >= probability
    assert seconds == 0 or model.waiting_cdf(seconds * (1 - 1e-9)) <= probability + 1e-12
    assert model.time_in_system_quantile(probability) == seconds + 1


@pytest.mark.parametrize("servers", [2_000, 20_000])
def test_thousands_of_servers_are_as_heavy_traffic_says(servers: int) -> None:
    # Halfin-Whitt scaling: an excess of b sqrt(c) servers. Jelenkovic, Mandelbaum & Momcilovic 2004: the waits of
    # G/D/N then are those of a Gaussian walk with drift -b. Its mean maximum, by Spitzer, is the sum over k of
    # E[max(0, G(k))] / k, where G(k) has mean -b k and variance k.
    excess = 0.5
    steps = np.arange(1, 400)
    scaled = excess * np.sqrt(steps)
    above = np.sqrt(steps) * (np.exp(-(scaled**2) / 2) / math.sqrt(2 * math.pi) - scaled * special.ndtr(-scaled))
    limit = float(np.sum(above / steps))
    model = MDc(servers - excess * math.sqrt(servers), 1.0, servers)
    assert model.mean_queue_length / math.sqrt(servers) == pytest.approx(limit, rel=0.03)


def test_saturation_is_named_with_load_and_capacity() -> None:
    with pytest.raises(UnstableError) as error:
        MDc(4.0, 1.0, 4)
    assert (error.value.offered_load, error.value.capacity) == (4, 4)
    with pytest.raises(ValueError, match=r"0\.999999"):
        MD1(0.999999, 1.0).waiting_quantile(0.5)
