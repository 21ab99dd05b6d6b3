"""The window limiter against a chain with integration, M/D/1, and a simulation of its own rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from queuesim.theory import MD1, MDc, UnstableError, WindowLimiter, chains


def limited(arrivals: list[float], most: int, window: float) -> list[float]:
    """Waiting times behind a limiter whose window opens at the first start after the last one closed."""
    opened, used, last, waiting = -math.inf, 0, 0.0, []
    for arrival in arrivals:
        start = max(arrival, last)
        if start >= opened + window:
            opened, used = start, 0
        elif used >= most:
            start = opened + window
            opened, used = start, 0
        used += 1
        last = start
        waiting.append(start - arrival)
    return waiting


@pytest.mark.parametrize(("rate", "most", "window"), [(0.7, 1, 1.0), (0.8, 3, 3.0), (8.0, 10, 1.0), (1.2, 20, 12.0)])
def test_it_agrees_with_a_simulation_of_its_rule(rate: float, most: int, window: float) -> None:
    model, rng = WindowLimiter(rate, most, window), np.random.default_rng(2)
    waiting = np.array(limited(np.cumsum(rng.exponential(1 / rate, 400_000)).tolist(), most, window))[2_000:]
    assert waiting.mean() == pytest.approx(model.mean_waiting_time, rel=0.06)
    assert (waiting > 1e-9).mean() == pytest.approx(model.probability_of_waiting, abs=0.01)
    assert np.quantile(waiting, 0.95) == pytest.approx(model.waiting_quantile(0.95), rel=0.06)


@pytest.mark.parametrize(("rate", "most", "window"), [(0.5, 2, 2.0), (3.0, 4, 1.0), (9.0, 10, 1.0)])
def test_it_agrees_with_a_chain_and_integration(rate: float, most: int, window: float) -> None:
    # jobs left over when a window closes; with none, the next window waits for the next job
    states, model = 250, WindowLimiter(rate, most, window)
    counts = np.arange(states + most + 1)
    arrivals = np.exp(special.xlogy(counts, rate * window) - rate * window - special.gammaln(counts + 1))
    steps = np.zeros((states, states))
    for left in range(states):
        for count, share in zip(counts.tolist(), arrivals.tolist(), strict=True):
            steps[left, min(max(0, max(left, 1) + count - most), states - 1)] += share
        steps[left, states - 1] += 1 - steps[left].sum()
    left = chains.stationary_of_steps(steps)
    cycle = window + left[0] / rate
    assert model.mean_cycle == pytest.approx(cycle, rel=1e-9)

    def over(time: float) -> float:
        """Mean jobs above `most`, so long after a window opened."""
        shares = np.exp(special.xlogy(counts, rate * time) - rate * time - special.gammaln(counts + 1))
        above = np.maximum(np.maximum(np.arange(states), 1)[:, None] + counts - most, 0)
        return float(left @ above @ shares)

    queue = integrate.quad(over, 0.0, window, epsabs=1e-10)[0] / cycle
    assert model.mean_queue_length == pytest.approx(queue, rel=1e-6)


@given(utilisation=st.floats(0.01, 0.98), window=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_one_start_per_window_is_md1(utilisation: float, window: float) -> None:
    limiter, server = WindowLimiter(utilisation / window, 1, window), MD1(utilisation / window, window)
    assert limiter.mean_waiting_time == pytest.approx(server.mean_waiting_time)
    assert limiter.probability_of_waiting == pytest.approx(utilisation)
    for probability in (0.5, 0.95):
        assert limiter.waiting_quantile(probability) == pytest.approx(
            server.waiting_quantile(probability), abs=1e-7 * window
        )


@given(most=st.integers(1, 60), utilisation=st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_its_parts_fit_together(most: int, utilisation: float) -> None:
    model = WindowLimiter(utilisation * most, most, 1.0)
    assert 0 <= model.share_shut <= 1
    assert model.mean_waiting_time == pytest.approx(model.mean_queue_length / model.arrival_rate)
    # cycles turn over all arrivals: between a job and max_starts of them each
    assert 1 - 1e-9 <= model.arrival_rate * model.mean_cycle <= most + 1e-9
    times = np.linspace(0.0, 6.0, 49)
    shares = np.array([model.waiting_cdf(float(t)) for t in times])
    assert np.all(np.diff(shares) >= -1e-12)
    assert shares[0] == pytest.approx(1 - model.probability_of_waiting, abs=1e-9)
    assert model.waiting_cdf(-1.0) == 0


def test_its_distribution_has_the_stated_mean() -> None:
    model = WindowLimiter(8.5, 10, 1.0)
    times = np.linspace(0.0, 12.0, 12_001)
    beyond = np.array([1 - model.waiting_cdf(float(t)) for t in times[::10]])
    assert np.trapezoid(beyond, times[::10]) == pytest.approx(model.mean_waiting_time, rel=2e-3)


def test_a_sliding_window_waits_longer() -> None:
    # a limiter over a sliding window is M/D/c: at no time more than c starts in the last `window` seconds
    for utilisation in (0.5, 0.8, 0.95):
        fixed, sliding = WindowLimiter(utilisation * 20, 20, 1.0), MDc(utilisation * 20, 1.0, 20)
        assert fixed.mean_waiting_time < sliding.mean_waiting_time


def test_a_hundred_thousand_starts_per_window() -> None:
    model = WindowLimiter(0.999e5, 100_000, 1.0)
    assert 0 < model.mean_waiting_time < 1
    assert 0 < model.share_shut < 1


def test_what_is_impossible_is_named() -> None:
    with pytest.raises(UnstableError) as error:
        WindowLimiter(2.0, 100, 50.0)
    assert (error.value.offered_load, error.value.capacity) == (100, 100)
    for arguments in ((0.0, 1, 1.0), (1.0, 0, 1.0), (1.0, 1.5, 1.0), (1.0, 1, math.inf), (math.nan, 1, 1.0)):
        with pytest.raises(ValueError):
            WindowLimiter(*arguments)  # type: ignore[arg-type]
