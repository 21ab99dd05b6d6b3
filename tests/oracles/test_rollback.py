"""What a queue knows at the end of a run in which it went back to earlier states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.oracles.rollback import TICK, Rollbacks
from queuesim.results.recording import FaultRow


def rollbacks(*spans: tuple[float, float], late: Any = ()) -> Rollbacks:
    rows = [FaultRow("redis.failover", "", until, until, lost=until - since) for since, until in spans]
    return Rollbacks(rows, late)


def forgotten(found: Rollbacks, *times: float) -> list[int]:
    numbers: list[int] = found.forgot(np.array(times)).tolist()
    return numbers


def test_other_faults_are_none() -> None:
    assert not Rollbacks([FaultRow("redis.restart", "", 5.0, 6.0), FaultRow("redis.outage", "", 5.0, 6.0)])


def test_an_empty_restart_forgets_everything() -> None:
    found = Rollbacks([FaultRow("redis.restart", "", 5.0, 6.0, lost=math.inf)])
    assert forgotten(found, 0.0, 4.9, 5.1, math.nan) == [0, 0, -1, -1]
    assert str(found.all[0]) == "redis.restart at 5 s"


def test_nobody_knows_what_came_first_within_the_resolution_of_the_clocks() -> None:
    """What happened just before or just after a failover bears its very moment, the more so where times are cut."""
    rows = [FaultRow("redis.failover", "", 6.0, 6.0, lost=2.0)]
    exact, cut = Rollbacks(rows), Rollbacks(rows, resolution=0.001)
    times = np.array([3.99, 4.0, 4.0005, 5.0, 6.0, 6.0005, 6.01])
    assert exact.on_edge(times).tolist() == [False, True, False, False, True, False, False]
    assert cut.on_edge(times).tolist() == [False, True, True, False, True, True, False]


def test_a_moment_that_was_cut_to_a_whole_millisecond_may_be_after_the_one_to_which_the_queue_went_back() -> None:
    rows = [FaultRow("redis.failover", "", 12.356118, 12.356118, lost=1.144)]
    ended = np.array([11.212, 11.2105, 12.0])
    assert Rollbacks(rows, resolution=0.001).may_undo(ended).tolist() == [[True, False, True]]
    assert Rollbacks(rows).may_undo(ended).tolist() == [[False, False, True]]


def test_each_moment_is_forgotten_by_the_first_that_struck() -> None:
    assert forgotten(rollbacks((4.0, 6.0), (5.0, 6.5), (9.0, 10.0)), 3.9, 5.5, 6.2, 8.0, 9.5) == [-1, 0, 1, -1, 2]


def test_what_a_rollback_undid_comes_back_with_an_image_of_the_time_before() -> None:
    """The image of second 5 knows what the first rollback, to second 4, undid."""
    found = rollbacks((4.0, 6.0), (5.0, 6.5))
    assert forgotten(found, 4.5) == [-1]
    assert found.undid(np.array([4.5])).tolist() == [0]
    assert found.came_back(np.array([4.5, 5.5])).tolist() == [True, False]


def test_a_failover_that_follows_another_at_once_keeps_what_that_restored() -> None:
    found = rollbacks((52.7, 53.8), (53.8, 54.7))
    assert forgotten(found, 52.9, 54.0) == [0, 1]


def test_with_latency_what_was_sent_before_may_be_forgotten_too() -> None:
    assert forgotten(rollbacks((50.0, 51.0), late=[(40.0, 60.0)]), 30.0, 19.0) == [0, -1]
    assert forgotten(rollbacks((50.0, 51.0), late=[(60.0, 80.0)]), 30.0) == [-1]


@pytest.mark.parametrize("time", [1.0, 1.0000004])
def test_at_the_edge_nobody_can_say(time: float) -> None:
    assert rollbacks((1.0, 2.0)).on_edge(np.array([time, 1.5])).tolist() == [True, False]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6, unique_by=lambda pair: pair[1]))
def test_as_if_it_were_played(pairs: list[tuple[int, int]]) -> None:
    """A value a second is told; saved and restored as failovers do."""
    spans = sorted((a, b) for a, b in pairs if a < b)
    known: set[float] = set()
    images: dict[int, set[float]] = {}
    for second in range(42):
        for since, until in spans:
            if until == second:
                known = set(images[since])
        images[second] = set(known)
        known.add(second + 0.5)
    times = np.arange(42) + 0.5
    found = rollbacks(*[(float(a), float(b)) for a, b in spans])
    assert set(times[found.lasts(times)].tolist()) == known
    assert set(times[found.forgot(times) < 0].tolist()) == known


def test_spans_are_looked_up_as_if_each_moment_were_held_against_each_rollback() -> None:
    rng = np.random.default_rng(3)
    began = np.sort(rng.uniform(0, 100, 30)).round(1)
    lost = rng.uniform(0, 4, 30).round(1)
    found = rollbacks(*((max(float(at - back), 0.0), float(at)) for at, back in zip(began, lost, strict=True)))
    times = np.concatenate((rng.uniform(-5, 110, 500).round(1), began, [np.nan, np.inf, -np.inf]))
    known = np.zeros(len(times), dtype=bool)
    for since, until in found.history():
        known |= (times > since) & (times < until - TICK)
    assert found.lasts(times).tolist() == known.tolist()
    undone = [
        next((i for i, each in enumerate(found.all) if each.since - TICK <= time <= each.until), -1) for time in times
    ]
    assert found.undid(times).tolist() == undone
    edges = [any(abs(time - edge) <= TICK for each in found.all for edge in (each.since, each.until)) for time in times]
    assert found.on_edge(times).tolist() == edges
