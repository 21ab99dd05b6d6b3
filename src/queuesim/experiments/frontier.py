"""The frontier: where, on a grid of values, the combinations begin that are good enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Place = tuple[int, ...]
"""A combination: for each axis, the place of its value."""
Array = npt.NDArray[np.float64]
NEAR = 0.15
"""How fast the weight of a combination falls with its distance from the first guess: by half when its cost is so much
larger or smaller, as a part."""


@dataclass(slots=True)
class Frontier:
    """Finds the cheapest good combination of a grid on which more is better and costs more.

    A combination is good or bad, once it has been tried. If it is good, all that cost as much or more are of no
    interest. If it is bad, all that have no more of anything are bad too: that is the assumption (monotonicity). The
    next combination to try is the one whose answer leaves the least in the worse case: the branch and bound of
    bisection, of which ordinary bisection is the case of one axis. What is left is counted by weight: combinations
    whose costs are near that of a first guess weigh more: a right guess among 200 is confirmed by 6 tries at most.

    With K combinations on one axis it takes at most about log2(K) tries without a guess.
    """

    costs: Array
    """Of each combination; ascending along each axis."""
    weights: Array
    """How likely each is thought to be the answer."""
    left: npt.NDArray[np.bool_]
    """Combinations that can be better than the best."""
    best: Place | None = None
    """The cheapest good combination so far."""

    @classmethod
    def of(cls, costs: Array, guess: Place | None = None) -> Frontier:
        """A grid of which nothing is known but costs, and perhaps a first guess."""
        weights = np.ones(costs.shape)
        if guess is not None:
            # by the order of the costs where these are 0
            around = costs[guess] or 1.0
            away = np.abs(costs - costs[guess]) / (NEAR * around)
            weights = 1 / (1 + away) ** 2
        return cls(costs, weights, np.ones(costs.shape, dtype=bool))

    def next(self) -> Place | None:
        """The combination to try next; None if the best is known."""
        if not self.left.any():
            return None
        weights = np.where(self.left, self.weights, 0.0)
        below = weights.copy()
        for axis in range(weights.ndim):
            below = below.cumsum(axis=axis)
        # if it is good, neither the best so far can be the answer, nor can it be that there is none
        otherwise = float(self.weights.min() if self.best is None else self.weights[self.best])
        worse = np.where(self.left, np.minimum(below, self._dearer(weights) + otherwise), -1.0)
        return tuple(int(step) for step in np.unravel_index(int(worse.argmax()), worse.shape))

    def _dearer(self, weights: Array) -> Array:
        """For each combination, the weight of those that cost more, or as much and come later in the order."""
        order = self._order()
        sums = np.cumsum(weights.ravel()[order][::-1])[::-1]
        found = np.empty(weights.size)
        found[order] = np.append(sums[1:], 0.0)
        return found.reshape(weights.shape)

    def _order(self) -> npt.NDArray[np.intp]:
        return np.argsort(self.costs.ravel(), kind="stable")

    def _rank(self) -> npt.NDArray[np.intp]:
        ranks = np.empty(self.costs.size, dtype=np.intp)
        ranks[self._order()] = np.arange(self.costs.size)
        return ranks.reshape(self.costs.shape)

    def good(self, place: Place) -> None:
        """A combination is good enough."""
        ranks = self._rank()
        if self.best is None or ranks[place] < ranks[self.best]:
            self.best = place
        self.left &= ranks < ranks[self.best]

    def bad(self, place: Place) -> None:
        """A combination is not good enough, and so are those below it."""
        self.left[tuple(slice(0, step + 1) for step in place)] = False
        if self.best == place:
            self.best = None

    def cheaper(self, than: Place | None) -> Iterator[Place]:
        """All combinations that cost less, or as much and come earlier, from the cheapest on; all without `than`."""
        ranks = self._rank()
        for index in self._order():
            place = tuple(int(step) for step in np.unravel_index(int(index), self.costs.shape))
            if than is not None and ranks[place] >= ranks[than]:
                return
            yield place

    def step_up(self, place: Place) -> Place | None:
        """The cheapest combination with one step more of one thing; None for the largest of all."""
        steps = [
            (*place[:axis], place[axis] + 1, *place[axis + 1 :])
            for axis in range(len(place))
            if place[axis] + 1 < self.costs.shape[axis]
        ]
        return min(steps, key=lambda step: float(self.costs[step]), default=None)


def below(first: Place, second: Place) -> bool:
    """Whether one combination has no more of anything than another, and is another one."""
    return first != second and all(one <= other for one, other in zip(first, second, strict=True))


def costs_of(values: Sequence[Sequence[float]], costs: Sequence[float]) -> Array:
    """The costs of all combinations: of each axis, its values times the cost of one."""
    total = np.zeros([len(each) for each in values])
    for axis, (each, cost) in enumerate(zip(values, costs, strict=True)):
        shape = [1] * len(values)
        shape[axis] = len(each)
        total = total + (np.asarray(each, dtype=np.float64) * cost).reshape(shape)
    return total
