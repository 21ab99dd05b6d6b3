"""M/G/1, G/G/c and D/M/1 against each other, chains solved by linear algebra, and simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.theory import DM1, GG1, MD1, MG1, MM1, GGc, MMc, UnstableError, chains

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


@pytest.mark.parametrize("scv", [-0.1, math.nan, math.inf])
def test_an_impossible_variation_is_named(scv: float) -> None:
    with pytest.raises(ValueError):
        MG1(0.5, 1.0, scv)


def test_saturation_is_named_with_load_and_capacity() -> None:
    with pytest.raises(UnstableError) as error:
        MG1(0.6, 2.0, 1.5)
    assert (error.value.offered_load, error.value.capacity) == (1.2, 1)
    with pytest.raises(UnstableError):
        GGc(4.0, 1.0, 4, 1.0, 1.0)


# -- G/G/c


@given(servers=st.integers(1, 40), utilisation=utilisations, mean_service=mean_services)
def test_ggc_is_mmc_where_all_is_memoryless(servers: int, utilisation: float, mean_service: float) -> None:
    rate = utilisation * servers / mean_service
    general, exact = GGc(rate, mean_service, servers, 1.0, 1.0), MMc(rate, mean_service, servers)
    assert general.mean_waiting_time == pytest.approx(exact.mean_waiting_time)
    assert general.corrected_mean_waiting_time == general.mean_waiting_time
    for probability in (0.5, 0.95):
        assert general.waiting_quantile(probability) == pytest.approx(exact.waiting_quantile(probability), abs=1e-9)


@given(utilisation=utilisations, scv=st.floats(0.0, 20.0))
def test_gg1_with_poisson_arrivals_is_mg1_and_below_kingmans_bound(utilisation: float, scv: float) -> None:
    general, exact = GG1(utilisation, 1.0, 1.0, scv), MG1(utilisation, 1.0, scv)
    assert general.mean_waiting_time == pytest.approx(exact.mean_waiting_time)
    assert general.kingman_bound >= exact.mean_waiting_time


def test_nothing_waits_if_nothing_varies() -> None:
    clockwork = GGc(3.0, 1.0, 4, 0.0, 0.0)
    assert clockwork.mean_waiting_time == clockwork.corrected_mean_waiting_time == 0
    assert clockwork.waiting_cdf(0.0) == 1
    assert clockwork.waiting_cdf(-1.0) == 0


@given(servers=st.integers(1, 20), utilisation=utilisations, scvs=st.tuples(st.floats(0.0, 4.0), st.floats(0.01, 4.0)))
def test_ggc_quantiles_invert_the_distribution(servers: int, utilisation: float, scvs: tuple[float, float]) -> None:
    model = GGc(utilisation * servers, 1.0, servers, *scvs)
    assert 0 <= model.corrected_mean_waiting_time <= model.mean_waiting_time * (1 + 1e-12)
    for probability in (0.3, 0.95):
        seconds = model.waiting_quantile(probability)
        assert model.waiting_cdf(seconds) == pytest.approx(max(probability, model.waiting_cdf(0.0)))


ERLANG_2 = ([1.0, 0.0], np.array([[0.0, 1.0], [0.0, 0.0]]))
"""The time between two arrivals in two phases of one rate, one after the other: an SCV of 1/2."""


@pytest.mark.parametrize(("servers", "utilisation", "error"), [(1, 0.8, 0.04), (3, 0.8, 0.08), (5, 0.9, 0.05)])
def test_allen_cunneen_is_near_a_chain_with_arrivals_in_phases(servers: int, utilisation: float, error: float) -> None:
    rate = utilisation * servers
    chain = chains.phased_arrivals(ERLANG_2[0], [2 * rate] * 2, ERLANG_2[1], 1.0, servers, 300)
    waiting = chains.queue_length(chains.stationary(chain), servers, phases=2) / rate
    model = GGc(rate, 1.0, servers, 0.5, 1.0)
    assert model.mean_waiting_time == pytest.approx(waiting, rel=3 * error)
    assert model.corrected_mean_waiting_time == pytest.approx(waiting, rel=error)
    assert waiting < model.mean_waiting_time


# -- D/M/1


@given(utilisation=utilisations, mean_service=mean_services)
def test_dm1_solves_its_equation(utilisation: float, mean_service: float) -> None:
    model = DM1(utilisation / mean_service, mean_service)
    assert 0 < model.sigma < utilisation
    assert model.sigma == pytest.approx(math.exp(-(1 - model.sigma) / model.utilisation), rel=1e-6)
    assert model.mean_waiting_time < MM1(utilisation / mean_service, mean_service).mean_waiting_time
    for probability in (0.1, 0.95):
        seconds = model.waiting_quantile(probability)
        assert model.waiting_cdf(seconds) == pytest.approx(max(probability, 1 - model.sigma))


@pytest.mark.parametrize("utilisation", [0.3, 0.8, 0.95])
def test_dm1_agrees_with_the_chain_that_arrivals_see(utilisation: float) -> None:
    # n jobs before an arrival; until the next one, k of the n + 1 leave, k Poisson of mean 1 / rho, as far as they go
    states, gap = 400, 1 / utilisation
    left = [math.exp(k * math.log(gap) - gap - math.lgamma(k + 1)) for k in range(states + 1)]
    steps = np.zeros((states, states))
    for n in range(states):
        for k in range(n + 1):
            steps[n, min(n + 1 - k, states - 1)] += left[k]
        steps[n, 0] += 1 - steps[n].sum()
    found = chains.stationary_of_steps(steps)
    model = DM1(utilisation, 1.0)
    assert 1 - found[0] == pytest.approx(model.probability_of_waiting, rel=1e-9)
    assert found @ np.arange(states) == pytest.approx(model.mean_waiting_time, rel=1e-6)


def test_dm1_agrees_with_a_lindley_recursion() -> None:
    rng, jobs = np.random.default_rng(12), 500_000
    waiting = lindley(np.full(jobs, 1 / 0.8), rng.exponential(1.0, jobs))[5_000:]
    model = DM1(0.8, 1.0)
    assert waiting.mean() == pytest.approx(model.mean_waiting_time, rel=0.03)
    assert np.quantile(waiting, 0.95) == pytest.approx(model.waiting_quantile(0.95), rel=0.03)
