"""Batches against chains solved by linear algebra, simulations, and the models that they become."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.theory import GG1, MG1, MM1, MXG1, MXM1, BatchGGc, UnstableError, chains, superposed_scv

utilisations = st.floats(0.01, 0.99)


@pytest.mark.parametrize(("size", "utilisation"), [(1, 0.5), (4, 0.6), (10, 0.8)])
def test_batches_of_one_size_agree_with_their_chain(size: int, utilisation: float) -> None:
    rate = utilisation / size
    model = MXM1.fixed(rate, 1.0, size)
    states = chains.stationary(chains.batch_arrivals(rate, [0.0] * (size - 1) + [1.0], 1.0, 1, 900))
    assert model.mean_queue_length == pytest.approx(chains.queue_length(states, 1), rel=1e-6)
    assert model.utilisation == pytest.approx(1 - states[0])
    assert model.batch_rate == pytest.approx(rate)


@pytest.mark.parametrize("mean", [1.0, 3.0, 8.0])
def test_batches_of_random_size_agree_with_their_chain(mean: float) -> None:
    rate, sizes = 0.7 / mean, [(1 / mean) * (1 - 1 / mean) ** k for k in range(300)]
    model = MXM1.geometric(rate, 1.0, mean)
    states = chains.stationary(chains.batch_arrivals(rate, sizes, 1.0, 1, 700))
    assert model.mean_queue_length == pytest.approx(chains.queue_length(states, 1), rel=1e-4)
    assert model.mean_jobs_in_system == pytest.approx(states @ np.arange(700), rel=1e-4)


@given(utilisation=utilisations, scv=st.floats(0.0, 10.0))
def test_batches_of_one_job_are_mg1(utilisation: float, scv: float) -> None:
    batches, single = MXG1(utilisation, 1.0, 1.0, 0.0, scv), MG1(utilisation, 1.0, scv)
    assert batches.mean_waiting_time == pytest.approx(single.mean_waiting_time)
    assert batches.probability_of_waiting == pytest.approx(single.probability_of_waiting)


def test_batches_of_general_service_agree_with_a_simulation() -> None:
    rng, batches, size = np.random.default_rng(4), 60_000, 5
    arrivals = np.repeat(np.cumsum(rng.exponential(size / 0.7, batches)), size)
    services = rng.gamma(2.0, 0.5, batches * size)
    walk = np.concatenate(([0.0], np.cumsum(services[:-1] - np.diff(arrivals))))
    waiting = (walk - np.minimum.accumulate(walk))[5_000:]
    model = MXG1(0.7, 1.0, float(size), 0.0, 0.5)
    assert waiting.mean() == pytest.approx(model.mean_waiting_time, rel=0.05)
    assert (waiting > 1e-9).mean() == pytest.approx(model.probability_of_waiting, abs=0.01)


# -- Batches at regular times


def periodic(size: int, period: float, servers: int, scv: float, batches: int, seed: int) -> float:
    """The mean waiting time of batches at regular times, simulated."""
    rng, free, total = np.random.default_rng(seed), [0.0] * servers, 0.0
    services = iter((rng.gamma(1 / scv, scv, batches * size) if scv else np.ones(batches * size)).tolist())
    for number in range(batches):
        for _ in range(size):
            start = max(number * period, free[0])
            total += start - number * period
            heapq.heapreplace(free, start + next(services))
    return total / (batches * size)


@pytest.mark.parametrize(
    ("size", "servers", "utilisation", "scv", "error"),
    [
        (20, 1, 0.5, 1.0, 0.03),
        (50, 5, 0.7, 1.0, 0.05),
        (20, 5, 0.9, 0.0, 1e-9),
        (60, 3, 0.8, 0.5, 0.05),
        (300, 5, 0.2, 3.0, 0.03),
    ],
)
def test_regular_batches_are_near_a_simulation(
    size: int, servers: int, utilisation: float, scv: float, error: float
) -> None:
    period = size / (utilisation * servers)
    model = BatchGGc(1 / period, size, 1.0, servers, 0.0, scv)
    measured = periodic(size, period, servers, scv, 400_000 // size, seed=size)
    assert model.mean_waiting_time == pytest.approx(measured, rel=error)
    assert model.utilisation == pytest.approx(utilisation)
    assert model.mean_queue_length == pytest.approx(model.arrival_rate * model.mean_waiting_time)


@given(utilisation=utilisations, scv=st.floats(0.01, 5.0))
def test_regular_batches_of_one_job_are_gg1(utilisation: float, scv: float) -> None:
    model, single = BatchGGc(utilisation, 1, 1.0, 1, 0.0, scv), GG1(utilisation, 1.0, 0.0, scv)
    assert model.mean_waiting_time == pytest.approx(single.corrected_mean_waiting_time)
    assert model.mean_time_in_system == pytest.approx(model.mean_waiting_time + 1)


def test_what_is_impossible_is_named() -> None:
    for make in (
        lambda: MXM1.fixed(1.0, 0.1, 0),
        lambda: MXM1.geometric(1.0, 0.1, 0.5),
        lambda: MXG1(0.5, 1.0, math.nan, 0.0, 1.0),
        lambda: BatchGGc(1.0, 3, 0.1, 1, -1.0),
        lambda: superposed_scv([], [], 0.5),
        lambda: superposed_scv([1.0], [-1.0], 0.5),
    ):
        with pytest.raises(ValueError):
            make()
    with pytest.raises(UnstableError) as error:
        MXM1.fixed(1.0, 0.5, 2)
    assert error.value.offered_load == 1
    with pytest.raises(UnstableError):
        BatchGGc(1.0, 10, 1.0, 10)


# -- Several streams together


def test_one_stream_keeps_its_variation_and_poisson_streams_stay_poisson() -> None:
    assert superposed_scv([3.0], [0.0], 0.5) == 0
    assert superposed_scv([3.0, 1.0], [1.0, 1.0], 0.5) == pytest.approx(1)


@given(streams=st.integers(2, 50), utilisation=utilisations)
def test_many_streams_are_nearer_to_poisson_than_each_of_them(streams: int, utilisation: float) -> None:
    together = superposed_scv([1.0] * streams, [0.0] * streams, utilisation)
    assert 0 < together < 1
    assert superposed_scv([1.0] * (streams + 1), [0.0] * (streams + 1), utilisation) > together


def test_single_jobs_of_mxm1_are_mm1() -> None:
    assert MXM1.fixed(0.6, 1.0, 1).mean_waiting_time == pytest.approx(MM1(0.6, 1.0).mean_waiting_time)
    assert MXM1.geometric(0.6, 1.0, 1.0).mean_waiting_time == pytest.approx(MM1(0.6, 1.0).mean_waiting_time)
