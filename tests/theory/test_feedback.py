"""Bernoulli feedback against M/M/1, M/G/1 and a simulation that really sends jobs to the tail."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.theory import MG1, MM1, BernoulliFeedback

probabilities = st.floats(0.0, 0.9)
utilisations = st.floats(0.01, 0.98)


@given(utilisation=utilisations, feedback=probabilities)
def test_exponential_service_is_mm1_at_the_rate_that_is_left(utilisation: float, feedback: float) -> None:
    model = BernoulliFeedback(utilisation * (1 - feedback), 1.0, feedback)
    slower = MM1(utilisation * (1 - feedback), 1 / (1 - feedback))
    assert model.mean_time_in_system == pytest.approx(slower.mean_time_in_system)
    assert model.mean_jobs_in_system == pytest.approx(utilisation / (1 - utilisation))
    assert model.utilisation == pytest.approx(utilisation)


@given(utilisation=utilisations, feedback=probabilities)
def test_every_visit_waits_alike_if_service_is_exponential(utilisation: float, feedback: float) -> None:
    # M/M/1 with feedback is a Jackson network: a returning job, like a new one, sees the steady state
    model = BernoulliFeedback(utilisation * (1 - feedback), 1.0, feedback)
    assert model.mean_first_waiting_time == pytest.approx(model.mean_waiting_time_per_visit)


@given(utilisation=utilisations, scv=st.floats(0.0, 10.0))
def test_without_feedback_it_is_mg1(utilisation: float, scv: float) -> None:
    model, general = BernoulliFeedback(utilisation, 1.0, 0.0, scv), MG1(utilisation, 1.0, scv)
    assert model.mean_waiting_time == pytest.approx(general.mean_waiting_time)
    assert model.mean_first_waiting_time == pytest.approx(general.mean_waiting_time)


@pytest.mark.parametrize("scv", [0.0, 1.0, 2.0])
def test_it_agrees_with_a_simulation(scv: float) -> None:
    model, rng, jobs = BernoulliFeedback(0.5, 1.0, 0.3, scv), np.random.default_rng(11), 150_000
    arrivals = np.cumsum(rng.exponential(2.0, jobs))
    services = rng.gamma(1 / scv, scv, 2 * jobs) if scv else np.ones(2 * jobs)
    returns = rng.random(2 * jobs) < 0.3
    first, total = _tail_feedback(arrivals.tolist(), services.tolist(), returns.tolist())
    assert np.mean(total[2_000:]) == pytest.approx(model.mean_time_in_system, rel=0.06)
    assert np.mean(first[2_000:]) == pytest.approx(model.mean_first_waiting_time, rel=0.06)


def _tail_feedback(
    arrivals: list[float], services: list[float], returns: list[bool]
) -> tuple[list[float], list[float]]:
    """First waiting time and time in system of each job; a return goes behind all that have arrived by then."""
    first, total = [-1.0] * len(arrivals), [0.0] * len(arrivals)
    queue: deque[int] = deque()
    now, arrived, done, visit = 0.0, 0, 0, 0
    while done < len(arrivals):
        if not queue:
            now = max(now, arrivals[arrived])
        while arrived < len(arrivals) and arrivals[arrived] <= now:
            queue.append(arrived)
            arrived += 1
        job = queue.popleft()
        if first[job] < 0:
            first[job] = now - arrivals[job]
        now += services[visit]
        while arrived < len(arrivals) and arrivals[arrived] <= now:
            queue.append(arrived)
            arrived += 1
        if returns[visit]:
            queue.append(job)
        else:
            total[job] = now - arrivals[job]
            done += 1
        visit += 1
    return first, total


def test_retries_that_saturate_the_server_are_named() -> None:
    with pytest.raises(ValueError):
        BernoulliFeedback(0.6, 1.0, 0.5)
    with pytest.raises(ValueError):
        BernoulliFeedback(0.6, 1.0, 1.0)
