"""Markov chains solved by linear algebra: an independent check of formulas, as far as a chain has few states.

Each function makes the generator of a chain, a matrix of rates, or a matrix of probabilities; `stationary` solves it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def stationary(generator: Array) -> Array:
    """The distribution p with p Q = 0 that adds up to 1. One equation, which follows from the others, makes room."""
    system = generator.T.copy()
    system[-1, :] = 1.0
    right = np.zeros(len(system))
    right[-1] = 1.0
    return np.asarray(np.linalg.solve(system, right))


def stationary_of_steps(transition: Array) -> Array:
    """The distribution p with p P = p that adds up to 1, of a chain that moves in steps."""
    return stationary(transition - np.eye(len(transition)))


def _closed(rates: Array) -> Array:
    """A generator: rates from state to state, with what makes each row add up to 0 on the diagonal."""
    np.fill_diagonal(rates, 0.0)
    rates -= np.diag(rates.sum(axis=1))
    return rates


def birth_death(births: Sequence[float], deaths: Sequence[float]) -> Array:
    """The chain with ``births[n]`` as the rate from n to n + 1, and ``deaths[n]`` as that from n + 1 back to n."""
    rates = np.diag(np.asarray(births, dtype=np.float64), 1) + np.diag(np.asarray(deaths, dtype=np.float64), -1)
    return _closed(rates)


def batch_arrivals(batch_rate: float, sizes: Sequence[float], mean_service: float, servers: int, states: int) -> Array:
    """M^X/M/c with fewer jobs than `states`: ``sizes[k]`` is the probability of a batch of k + 1 jobs."""
    rates = np.zeros((states, states))
    for n in range(states):
        for k, share in enumerate(sizes):
            if n + k + 1 < states:
                rates[n, n + k + 1] += batch_rate * share
        if n:
            rates[n, n - 1] = min(n, servers) / mean_service
    return _closed(rates)


def phased_arrivals(
    start: Sequence[float], rates: Sequence[float], moves: Array, mean_service: float, servers: int, states: int
) -> Array:
    """PH/M/c with fewer jobs than `states`: state n * phases + i has n jobs, and the next arrival is in phase i.

    Args:
        start: the probability of each phase after an arrival.
        rates: per second, at which each phase ends.
        moves: ``moves[i, j]`` is the probability of phase j after i; what a row lacks to 1 is an arrival.
    """
    phases = len(start)
    chain = np.zeros((states * phases, states * phases))
    for n in range(states):
        for i in range(phases):
            here = n * phases + i
            arrival = rates[i] * (1 - moves[i].sum())
            for j in range(phases):
                chain[here, n * phases + j] += rates[i] * moves[i, j]
                if n + 1 < states:
                    chain[here, (n + 1) * phases + j] += arrival * start[j]
            if n:
                chain[here, here - phases] += min(n, servers) / mean_service
    return _closed(chain)


def constant_service(load: float, servers: int, states: int) -> Array:
    """The steps of u' = max(0, u + A - servers), A Poisson of mean `load`, with fewer jobs than `states` in the queue.

    What would go beyond them stays at the last one.
    """
    arrivals = [math.exp(k * math.log(load) - load - math.lgamma(k + 1)) for k in range(states + servers)]
    steps = np.zeros((states, states))
    for n in range(states):
        np.add.at(steps[n], np.clip(n + np.arange(len(arrivals)) - servers, 0, states - 1), arrivals)
        steps[n, states - 1] += max(0.0, 1 - steps[n].sum())
    return steps


def queue_length(probabilities: Array, servers: int, phases: int = 1) -> float:
    """The mean number of jobs above `servers`, of a chain whose states are numbers of jobs times phases."""
    jobs = np.arange(len(probabilities)) // phases
    return float(probabilities @ np.maximum(jobs - servers, 0))
