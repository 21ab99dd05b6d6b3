"""Machine repair against its chain, its bounds and limits, and a simulation."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.theory import MachineRepair, MMc, chains


def chain(model: MachineRepair) -> np.ndarray:
    n, c = model.producers, model.servers
    births = [(n - k) / model.mean_think for k in range(n)]
    deaths = [min(k, c) / model.mean_service for k in range(1, n + 1)]
    return chains.stationary(chains.birth_death(births, deaths))


@pytest.mark.parametrize(("producers", "think", "servers"), [(1, 3.0, 1), (5, 7.0, 1), (12, 4.0, 3), (40, 2.0, 6)])
def test_it_agrees_with_its_chain(producers: int, think: float, servers: int) -> None:
    model = MachineRepair(producers, think, 1.5, servers)
    states = chain(model)
    assert model.probabilities == pytest.approx(states, abs=1e-12)
    assert model.mean_queue_length == pytest.approx(chains.queue_length(states, servers), abs=1e-12)
    assert model.throughput == pytest.approx((producers - states @ np.arange(producers + 1)) / think)
    assert model.mean_jobs_in_system == pytest.approx(states @ np.arange(producers + 1))


def test_it_agrees_with_the_finite_queueing_tables() -> None:
    # Peck & Hazelwood 1958: service factor X = T / (T + U) = 0.125, population 5, 1 server: D = 0.473, F = 0.920.
    # D is the probability of waiting, and F the share of a machine's time that is not spent waiting. Both are
    # recomputed from the chain; a machine that breaks finds the others as a chain without it
    model = MachineRepair(5, 7.0, 1.0, 1)
    states = chain(model)
    efficiency = 1 - chains.queue_length(states, 1) / 5
    assert 1 - model.mean_queue_length / 5 == pytest.approx(efficiency)
    assert efficiency == pytest.approx(0.920, abs=0.0005)
    delayed = 1 - chain(MachineRepair(4, 7.0, 1.0, 1))[0]
    assert model.probability_of_waiting == pytest.approx(delayed)
    assert delayed == pytest.approx(0.473, abs=0.0005)


@given(
    producers=st.integers(1, 300), servers=st.integers(1, 40), think=st.floats(1e-3, 1e3), service=st.floats(1e-3, 1e3)
)
def test_it_obeys_little_and_the_asymptotic_bounds(producers: int, servers: int, think: float, service: float) -> None:
    model = MachineRepair(producers, think, service, servers)
    assert model.throughput <= model.most_throughput * (1 + 1e-9)
    # Little's law over a cycle: all producers think or have a job there
    cycle = think + model.mean_time_in_system
    assert model.throughput * cycle == pytest.approx(producers)
    assert 0 < model.utilisation <= 1 + 1e-12
    assert model.mean_jobs_in_system == pytest.approx(model.mean_queue_length + model.utilisation * servers)


@given(producers=st.integers(1, 100), servers=st.integers(1, 20), service=st.floats(1e-3, 1e3))
def test_without_thought_all_are_always_there(producers: int, servers: int, service: float) -> None:
    model = MachineRepair(producers, 0.0, service, servers)
    assert model.throughput == pytest.approx(min(producers, servers) / service)
    assert model.mean_queue_length == max(0, producers - servers)
    almost = MachineRepair(producers, service * 1e-9, service, servers)
    assert almost.throughput == pytest.approx(model.throughput)


def test_ever_more_producers_who_think_ever_longer_are_mmc() -> None:
    limited, unlimited = MachineRepair(200_000, 50_000.0, 1.0, 5), MMc(4.0, 1.0, 5)
    assert limited.mean_waiting_time == pytest.approx(unlimited.mean_waiting_time, rel=1e-3)
    assert limited.waiting_quantile(0.95) == pytest.approx(unlimited.waiting_quantile(0.95), rel=1e-3)
    assert limited.probability_of_waiting == pytest.approx(unlimited.probability_of_waiting, rel=1e-3)


def test_thousands_of_servers_and_a_million_producers() -> None:
    # far below saturation nobody waits: each producer has a cycle of think and service
    model = MachineRepair(1_000_000, 999.0, 1.0, 5_000)
    assert model.throughput == pytest.approx(1000.0, rel=1e-9)
    assert model.mean_waiting_time == pytest.approx(0.0, abs=1e-12)
    flooded = MachineRepair(1_000_000, 9.0, 1.0, 5_000)
    assert flooded.throughput == pytest.approx(5000.0, rel=1e-9)
    assert flooded.mean_waiting_time == pytest.approx(1_000_000 / 5000 - 10, rel=1e-6)


@pytest.mark.parametrize("constant_think", [False, True])
def test_it_agrees_with_a_simulation_whatever_the_thinking_is_like(constant_think: bool) -> None:
    model, rng, jobs = MachineRepair(12, 4.0, 1.0, 2), np.random.default_rng(6), 200_000
    comes, free = [float(t) for t in rng.exponential(4.0, 12)], [0.0, 0.0]
    heapq.heapify(comes)
    waiting = np.empty(jobs)
    for number in range(jobs):
        arrival = heapq.heappop(comes)
        start = max(arrival, free[0])
        waiting[number] = start - arrival
        end = start + float(rng.exponential(1.0))
        heapq.heapreplace(free, end)
        heapq.heappush(comes, end + (4.0 if constant_think else float(rng.exponential(4.0))))
    settled = waiting[2_000:]
    assert settled.mean() == pytest.approx(model.mean_waiting_time, rel=0.03)
    assert np.quantile(settled, 0.95) == pytest.approx(model.waiting_quantile(0.95), rel=0.03)
    assert (settled > 0).mean() == pytest.approx(model.probability_of_waiting, abs=0.01)


def test_impossible_parameters_are_named() -> None:
    for arguments in ((0, 1.0, 1.0, 1), (5, -1.0, 1.0, 1), (5, math.nan, 1.0, 1), (5, 1.0, 0.0, 1), (5, 1.0, 1.0, 0)):
        with pytest.raises(ValueError):
            MachineRepair(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        MachineRepair(20_000_000, 1.0, 1.0, 1)
