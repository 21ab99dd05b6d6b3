"""The search for the cheapest good combination on a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.experiments.frontier import Frontier, Place, below, costs_of


def search(frontier: Frontier, good: np.ndarray) -> tuple[Place | None, int]:
    """The answer of a search, and how many combinations it tried."""
    tries = 0
    while (place := frontier.next()) is not None:
        tries += 1
        (frontier.good if good[place] else frontier.bad)(place)
    return frontier.best, tries


def cheapest(costs: np.ndarray, good: np.ndarray) -> float:
    return float(costs[good].min()) if good.any() else math.inf


@given(st.integers(1, 200), st.data())
def test_bisection_finds_the_least_good_value(size: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(0, size))
    good = np.arange(size) >= least
    guess = data.draw(st.none() | st.integers(0, size - 1).map(lambda place: (place,)))
    best, tries = search(Frontier.of(costs_of([range(1, size + 1)], [1.0]), guess), good)
    assert best == (None if least == size else (least,))
    if guess is None:
        assert tries <= math.ceil(math.log2(size + 1))


@pytest.mark.parametrize("size", [1, 2, 20, 100, 200])
def test_a_right_guess_is_confirmed_in_fewer_tries_than_bisection_takes(size: int) -> None:
    costs, tries, bisected = costs_of([range(1, size + 1)], [1.0]), [], []
    for least in range(size):
        good = np.arange(size) >= least
        tries.append(search(Frontier.of(costs, (least,)), good)[1])
        bisected.append(search(Frontier.of(costs), good)[1])
    assert max(tries) <= 6
    assert sum(tries) < sum(bisected) or size <= 2


@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=3),
    st.lists(st.integers(1, 20), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_branch_and_bound_finds_what_trying_all_finds(shape: list[int], prices: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [np.sort(rng.choice(np.arange(1, 30), size, replace=False)).tolist() for size in shape]
    costs = costs_of(values, prices[: len(shape)])
    # good above a random frontier: anything above a good one is good
    good = np.zeros(shape, dtype=bool)
    for _ in range(rng.integers(0, 3)):
        corner = tuple(int(rng.integers(0, size)) for size in shape)
        good[tuple(slice(step, None) for step in corner)] = True
    guess = tuple(int(rng.integers(0, size)) for size in shape) if rng.random() < 0.5 else None
    best, tries = search(Frontier.of(costs, guess), good)
    assert (math.inf if best is None else costs[best]) == cheapest(costs, good)
    assert tries <= costs.size


def test_two_axes_take_far_fewer_tries_than_combinations() -> None:
    costs = costs_of([range(1, 41), range(1, 11)], [10.0, 3.0])
    good = np.multiply.outer(np.arange(1, 41), np.arange(1, 11)) >= 31
    best, tries = search(Frontier.of(costs), good)
    assert best == (3, 7)
    assert tries < 20


def test_costs_and_order() -> None:
    costs = costs_of([[1, 2], [1, 5]], [10.0, 1.0])
    assert costs.tolist() == [[11, 15], [21, 25]]
    frontier = Frontier.of(costs)
    assert list(frontier.cheaper(None)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert list(frontier.cheaper((1, 0))) == [(0, 0), (0, 1)]
    assert frontier.step_up((0, 0)) == (0, 1)
    assert frontier.step_up((1, 1)) is None
    assert below((0, 1), (1, 1))
    assert not below((1, 1), (1, 1))
    assert not below((0, 1), (1, 0))


def test_a_best_that_turns_out_to_be_bad_is_forgotten() -> None:
    frontier = Frontier.of(costs_of([[1, 2, 3]], [1.0]))
    frontier.good((1,))
    frontier.bad((1,))
    assert frontier.best is None


@pytest.mark.parametrize("place", [(0,), (2,)])
def test_a_guess_is_tried_first(place: Place) -> None:
    frontier = Frontier.of(costs_of([range(1, 1001)], [1.0]), place)
    first = frontier.next()
    assert first is not None
    assert abs(first[0] - place[0]) <= 1
