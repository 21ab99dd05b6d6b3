"""Cobham's priorities against Pollaczek-Khinchine, Erlang C, the conservation law and a simulation."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.theory import MG1, MMc
from queuesim.theory.priority import PriorityClass, PriorityMG1, PriorityMMc

classes = st.lists(
    st.builds(PriorityClass, st.floats(0.01, 0.2), st.floats(0.1, 1.0), st.floats(0.0, 5.0)), min_size=1, max_size=4
)


@given(jobs=st.builds(PriorityClass, st.floats(0.01, 0.9), st.floats(0.1, 1.0), st.floats(0.0, 5.0)))
def test_one_class_is_pollaczek_khinchine(jobs: PriorityClass) -> None:
    model = PriorityMG1([jobs])
    plain = MG1(jobs.arrival_rate, jobs.mean_service, jobs.scv)
    assert model.mean_waiting_times == pytest.approx([plain.mean_waiting_time])
    assert model.mean_times_in_system == pytest.approx([plain.mean_time_in_system])
    assert model.mean_queue_lengths == pytest.approx([plain.mean_queue_length])
    assert model.mean_numbers_in_system == pytest.approx([plain.mean_jobs_in_system])
    assert model.probability_of_waiting == pytest.approx(plain.probability_of_waiting)


@given(jobs=classes)
def test_priorities_obey_the_conservation_law(jobs: list[PriorityClass]) -> None:
    # Kleinrock 1965: the waiting times weighted by utilisation add up to the same, whatever the order of the classes
    for model in (PriorityMG1(jobs), PriorityMG1(jobs[::-1])):
        weighted = sum(u * w for u, w in zip(model.utilisations, model.mean_waiting_times, strict=True))
        total = model.utilisation
        assert weighted == pytest.approx(total * model.mean_delay_by_service / (1 - total))
        assert list(model.mean_waiting_times) == sorted(model.mean_waiting_times)


@given(rates=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4), servers=st.integers(5, 12))
def test_mmc_with_priorities_waits_on_average_like_mmc(rates: list[float], servers: int) -> None:
    model, plain = PriorityMMc(rates, 1.0, servers), MMc(sum(rates), 1.0, servers)
    assert model.mean_waiting_time == pytest.approx(plain.mean_waiting_time)
    assert model.mean_time_in_system == pytest.approx(plain.mean_time_in_system)
    assert sum(model.mean_numbers_in_system) == pytest.approx(plain.mean_jobs_in_system)
    assert model.probability_of_waiting == pytest.approx(plain.probability_of_waiting)
    assert model.utilisation == pytest.approx(plain.utilisation)


def test_mmc_with_one_server_is_mg1_with_exponential_service() -> None:
    rates = (0.1, 0.2, 0.4)
    one = PriorityMG1([PriorityClass(rate, 1.2) for rate in rates])
    many = PriorityMMc(rates, 1.2, 1)
    assert many.mean_waiting_times == pytest.approx(one.mean_waiting_times)
    assert many.mean_times_in_system == pytest.approx(one.mean_times_in_system)


@pytest.mark.parametrize(("servers", "means"), [(1, (0.5, 1.0, 1.5)), (3, (1.0, 1.0, 1.0))])
def test_priorities_agree_with_a_simulation(servers: int, means: tuple[float, ...]) -> None:
    rng, shares, jobs = np.random.default_rng(3), np.array([0.2, 0.3, 0.5]), 200_000
    rate = 0.75 * servers / float(shares @ np.array(means))
    classes = rng.choice(3, jobs, p=shares)
    services = rng.exponential(1.0, jobs) * np.array(means)[classes]
    arrivals = np.cumsum(rng.exponential(1 / rate, jobs))
    waiting = np.array(_by_priority(arrivals.tolist(), classes.tolist(), services.tolist(), servers))
    rates = [float(rate * share) for share in shares]
    model = (
        PriorityMG1([PriorityClass(r, mean) for r, mean in zip(rates, means, strict=True)])
        if servers == 1
        else PriorityMMc(rates, 1.0, servers)
    )
    settled = np.arange(jobs) >= 5_000
    for number, mean in enumerate(model.mean_waiting_times):
        assert waiting[settled & (classes == number)].mean() == pytest.approx(mean, rel=0.07)


def _by_priority(arrivals: list[float], classes: list[int], services: list[float], servers: int) -> list[float]:
    """Waiting time of each job: a free server takes the most urgent job, and of those the first that came."""
    free = [0.0] * servers
    queue: list[tuple[int, int]] = []
    waiting, arrived = [0.0] * len(arrivals), 0
    for _ in arrivals:
        now = heapq.heappop(free)
        if not queue:
            now = max(now, arrivals[arrived])
        while arrived < len(arrivals) and arrivals[arrived] <= now:
            heapq.heappush(queue, (classes[arrived], arrived))
            arrived += 1
        _, job = heapq.heappop(queue)
        waiting[job] = now - arrivals[job]
        heapq.heappush(free, now + services[job])
    return waiting


def test_impossible_parameters_are_named() -> None:
    with pytest.raises(ValueError):
        PriorityMG1([PriorityClass(0.6, 1.0), PriorityClass(0.5, 1.0)])
    with pytest.raises(ValueError):
        PriorityMMc((1.0, 1.0), 1.0, 2)
    with pytest.raises(ValueError):
        PriorityMMc((1.0, -1.0), 1.0, 2)
    for empty in (lambda: PriorityMG1([]), lambda: PriorityMMc([], 1.0, 2)):
        with pytest.raises(ValueError):
            empty()
