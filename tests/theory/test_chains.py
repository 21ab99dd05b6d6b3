"""Chains solved by linear algebra, on examples that can be solved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from queuesim.theory import chains


def test_a_chain_of_two_states_is_in_each_by_the_other_ones_rate() -> None:
    assert chains.stationary(chains.birth_death([2.0], [3.0])) == pytest.approx([0.6, 0.4])


def test_a_chain_of_three_states_in_a_ring() -> None:
    # 0 to 1 at 1, 1 to 2 at 2, 2 to 0 at 4: time in each is in proportion to 1, 1/2, 1/4
    ring = np.array([[-1.0, 1.0, 0.0], [0.0, -2.0, 2.0], [4.0, 0.0, -4.0]])
    assert chains.stationary(ring) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_steps_that_change_sides_with_a_third() -> None:
    assert chains.stationary_of_steps(np.array([[2 / 3, 1 / 3], [1.0, 0.0]])) == pytest.approx([0.75, 0.25])


def test_one_phase_of_arrivals_is_a_birth_death_chain() -> None:
    phased = chains.phased_arrivals([1.0], [0.7], np.zeros((1, 1)), 1.0, 2, 30)
    plain = chains.birth_death([0.7] * 29, [1.0] + [2.0] * 28)
    assert phased == pytest.approx(plain)
    assert chains.batch_arrivals(0.7, [1.0], 1.0, 2, 30) == pytest.approx(plain)


def test_constant_service_moves_by_arrivals_less_servers() -> None:
    steps = chains.constant_service(0.5, 1, 40)
    assert steps.sum(axis=1) == pytest.approx(np.ones(40))
    # from 3 jobs to 2 if none arrives in a service time
    assert steps[3, 2] == pytest.approx(np.exp(-0.5))
    assert chains.queue_length(np.array([0.5, 0.0, 0.25, 0.25]), 1) == pytest.approx(0.75)
    assert chains.queue_length(np.array([0.5, 0.0, 0.0, 0.0, 0.25, 0.25]), 1, phases=2) == pytest.approx(0.5)
