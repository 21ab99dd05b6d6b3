"""M/M/1, M/M/c and Erlang's formulas against each other, published values and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.theory import MM1, MMc, MMcK, UnstableError, chains, erlang_b, erlang_c

utilisations = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("servers", "load", "blocked"),
    # the standard Erlang B table (ITU Teletraffic Engineering Handbook): load in erlangs at 1 % and 0.1 % blocking
    [(1, 0.0101, 0.01), (10, 4.46, 0.01), (20, 12.03, 0.01), (50, 37.90, 0.01), (10, 3.09, 0.001), (20, 9.41, 0.001)],
)
def test_erlang_b_agrees_with_the_published_table(servers: int, load: float, blocked: float) -> None:
    # the table gives the load to 2 decimals, so the blocking must pass the stated one within half a unit of the last
    assert erlang_b(load - 0.006, servers) < blocked < erlang_b(load + 0.006, servers)


@given(servers=st.integers(1, 60), utilisation=utilisations)
def test_erlang_c_agrees_with_its_definition_as_a_sum(servers: int, utilisation: float) -> None:
    load = utilisation * servers
    below = sum(load**n / math.factorial(n) for n in range(servers))
    busy = load**servers / math.factorial(servers) / (1 - utilisation)
    assert erlang_c(load, servers) == pytest.approx(busy / (below + busy), rel=1e-12)


def test_erlang_c_stays_exact_where_factorials_overflow() -> None:
    # Halfin & Whitt 1981: with load c - b sqrt(c), C tends to 1 / (1 + b cdf(b) / pdf(b))
    servers, excess = 1_000_000, 1.0
    cdf = (1 + math.erf(excess / math.sqrt(2))) / 2
    pdf = math.exp(-(excess**2) / 2) / math.sqrt(2 * math.pi)
    limit = 1 / (1 + excess * cdf / pdf)
    assert erlang_c(servers - excess * math.sqrt(servers), servers) == pytest.approx(limit, rel=2e-3)


@pytest.mark.parametrize(
    ("servers", "waits", "mean"),
    # Adan & Resing, Queueing Systems, chapter on M/M/c: table for mean service 1 and utilisation 0.9
    [(1, 0.90, 9.00), (2, 0.85, 4.26), (5, 0.76, 1.53), (10, 0.67, 0.67), (20, 0.55, 0.28)],
)
def test_mmc_agrees_with_the_published_table(servers: int, waits: float, mean: float) -> None:
    model = MMc(0.9 * servers, 1.0, servers)
    # two decimals, of which the last may be rounded either way
    assert model.probability_of_waiting == pytest.approx(waits, abs=0.0051)
    assert model.mean_waiting_time == pytest.approx(mean, abs=0.0051)


def test_mmc_agrees_with_the_eye_clinic_of_gross_and_harris() -> None:
    # Gross & Harris, chapter 2: 3 doctors, 6 patients an hour, 20 minutes each
    clinic = MMc(6 / 3600, 1200.0, 3)
    assert clinic.mean_queue_length == pytest.approx(8 / 9)
    assert clinic.mean_jobs_in_system == pytest.approx(26 / 9)
    assert clinic.mean_time_in_system / 60 == pytest.approx(28.9, abs=0.05)


@given(utilisation=utilisations, mean_service=st.floats(1e-3, 1e3), probability=st.floats(1e-3, 0.999))
def test_mmc_with_one_server_is_mm1(utilisation: float, mean_service: float, probability: float) -> None:
    one, many = MM1(utilisation / mean_service, mean_service), MMc(utilisation / mean_service, mean_service, 1)
    assert many.probability_of_waiting == pytest.approx(one.probability_of_waiting)
    assert many.mean_waiting_time == pytest.approx(one.mean_waiting_time)
    assert many.mean_jobs_in_system == pytest.approx(one.utilisation / (1 - one.utilisation))
    assert many.waiting_quantile(probability) == pytest.approx(
        one.waiting_quantile(probability), abs=1e-6 * mean_service
    )
    assert many.time_in_system_quantile(probability) == pytest.approx(
        one.time_in_system_quantile(probability), rel=1e-6
    )
    assert many.time_in_system_cdf(mean_service) == pytest.approx(one.time_in_system_cdf(mean_service))


@given(servers=st.integers(1, 30), utilisation=utilisations, probability=st.floats(0.0, 0.999))
def test_quantiles_invert_the_distributions(servers: int, utilisation: float, probability: float) -> None:
    model = MMc(utilisation * servers, 1.0, servers)
    waiting = model.waiting_quantile(probability)
    if waiting > 0:
        assert model.waiting_cdf(waiting) == pytest.approx(probability, abs=1e-9)
    else:
        assert 1 - model.probability_of_waiting >= probability - 1e-12
    assert model.time_in_system_cdf(model.time_in_system_quantile(probability)) == pytest.approx(probability, abs=1e-9)


# with 5 servers, c - a is 1 at a load of 4 erlangs: there the general formula divides 0 by 0
@pytest.mark.parametrize("model", [MM1(0.7, 1.0), MMc(4.0, 1.0, 5), MMc(4.0 + 1e-9, 1.0, 5), MMc(3.0, 1.0, 5)])
def test_distributions_have_the_stated_means(model: MM1 | MMc) -> None:
    grid = np.linspace(0.0, 200.0, 400_001)
    for cdf, mean in (
        (model.waiting_cdf, model.mean_waiting_time),
        (model.time_in_system_cdf, model.mean_time_in_system),
    ):
        beyond = np.array([1 - cdf(float(t)) for t in grid[::20]])
        assert np.trapezoid(beyond, grid[::20]) == pytest.approx(mean, rel=1e-4)
        assert cdf(-1.0) == 0.0


def test_mmc_agrees_with_a_simulation() -> None:
    model, rng, jobs = MMc(2.4, 1.0, 3), np.random.default_rng(20240501), 200_000
    arrivals, services = np.cumsum(rng.exponential(1 / 2.4, jobs)).tolist(), rng.exponential(1.0, jobs).tolist()
    free, waiting = [0.0] * 3, np.empty(jobs)
    for number, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        server = free.index(min(free))
        start = max(arrival, free[server])
        waiting[number], free[server] = start - arrival, start + service
    settled = waiting[5_000:]
    # about 5 standard errors at this length
    assert settled.mean() == pytest.approx(model.mean_waiting_time, rel=0.06)
    assert (settled > 0).mean() == pytest.approx(model.probability_of_waiting, abs=0.015)
    assert np.quantile(settled, 0.95) == pytest.approx(model.waiting_quantile(0.95), rel=0.06)


@pytest.mark.parametrize(
    ("arrival_rate", "mean_service", "servers", "said"),
    [
        (
            5.0,
            1.0,
            5,
            "load (5 erlangs) must be below the capacity (5) in MMc(arrival_rate=5.0, mean_service=1.0, servers=5)",
        ),
        (0.0, 1.0, 5, "arrival_rate must be above 0 and finite, not 0.0"),
        (1.0, math.nan, 5, "mean_service must be above 0 and finite, not nan"),
        (1.0, math.inf, 5, "mean_service must be above 0 and finite, not inf"),
        (1.0, 1.0, 0, "servers must be a whole number, 1 or more, not 0"),
    ],
)
def test_impossible_parameters_are_named(arrival_rate: float, mean_service: float, servers: int, said: str) -> None:
    with pytest.raises(ValueError) as error:
        MMc(arrival_rate, mean_service, servers)
    assert said in str(error.value)


def test_impossible_probabilities_and_loads_are_named() -> None:
    with pytest.raises(UnstableError):
        erlang_c(3.0, 3)
    for quantile in (MM1(0.5, 1.0).waiting_quantile, MM1(0.5, 1.0).time_in_system_quantile):
        with pytest.raises(ValueError):
            quantile(1.0)


@pytest.mark.parametrize(("load", "servers"), [(2e6, 2_000_000), (1e6, 1_001_000), (3e6, 1_000_000)])
def test_erlang_b_of_a_million_servers_needs_no_million_steps(load: float, servers: int) -> None:
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    assert erlang_b(load, servers) == pytest.approx(blocked, rel=1e-12)


def test_erlang_b_of_a_billion_servers() -> None:
    # Jagerman 1974: with as many erlangs as servers, B is about sqrt(2 / (pi c))
    assert erlang_b(1e9, 10**9) == pytest.approx(math.sqrt(2 / (math.pi * 1e9)), rel=1e-3)
    assert erlang_b(1.0, 10**9) == 0


# -- M/M/c/K


def chain(load: float, servers: int, places: int) -> np.ndarray:
    deaths = [float(min(n, servers)) for n in range(1, places + 1)]
    return chains.stationary(chains.birth_death([load] * places, deaths))


@pytest.mark.parametrize(
    ("load", "servers", "places"), [(0.5, 1, 1), (4.0, 5, 5), (4.0, 5, 12), (9.0, 5, 12), (5.0, 5, 40), (2.0, 3, 90)]
)
def test_mmck_agrees_with_its_chain(load: float, servers: int, places: int) -> None:
    model, states = MMcK(load / 2, 2.0, servers, places), chain(load, servers, places)
    assert model.probabilities == pytest.approx(states, abs=1e-12)
    assert model.blocking_probability == pytest.approx(states[-1])
    assert model.throughput == pytest.approx(load / 2 * (1 - states[-1]))
    assert model.mean_jobs_in_system == pytest.approx(states @ np.arange(places + 1))
    assert model.mean_queue_length == pytest.approx(chains.queue_length(states, servers), abs=1e-12)
    assert model.mean_time_in_system == pytest.approx(model.mean_jobs_in_system / model.throughput)
    assert model.utilisation == pytest.approx(states @ np.minimum(np.arange(places + 1), servers) / servers)


@given(servers=st.integers(1, 200), load=st.floats(0.01, 400.0))
def test_without_places_to_wait_it_is_erlangs_loss_system(servers: int, load: float) -> None:
    model = MMcK(load, 1.0, servers, servers)
    assert model.blocking_probability == pytest.approx(erlang_b(load, servers), rel=1e-9)
    assert model.mean_waiting_time == model.probability_of_waiting == 0
    assert model.waiting_cdf(0.0) == 1


@given(servers=st.integers(1, 30), utilisation=st.floats(0.01, 0.9))
def test_with_ever_more_places_it_becomes_mmc(servers: int, utilisation: float) -> None:
    limited, unlimited = (
        MMcK(utilisation * servers, 1.0, servers, servers + 1000),
        MMc(utilisation * servers, 1.0, servers),
    )
    assert limited.blocking_probability < 1e-40
    assert limited.mean_waiting_time == pytest.approx(unlimited.mean_waiting_time)
    assert limited.probability_of_waiting == pytest.approx(unlimited.probability_of_waiting)
    assert limited.waiting_cdf(1.5) == pytest.approx(unlimited.waiting_cdf(1.5))
    assert limited.waiting_quantile(0.95) == pytest.approx(unlimited.waiting_quantile(0.95), abs=1e-9)


def test_a_full_system_starts_no_more_than_its_servers_do() -> None:
    flooded = MMcK(1e6, 1.0, 1000, 5000)
    assert flooded.throughput == pytest.approx(1000, rel=1e-5)
    assert flooded.utilisation == pytest.approx(1, rel=1e-5)
    assert flooded.mean_queue_length == pytest.approx(4000, rel=1e-4)
    assert flooded.waiting_cdf(-0.1) == 0


def test_impossible_places_are_named() -> None:
    for places in (4, 5.5, 20_000_000, math.nan):
        with pytest.raises(ValueError):
            MMcK(1.0, 1.0, 5, places)  # type: ignore[arg-type]
