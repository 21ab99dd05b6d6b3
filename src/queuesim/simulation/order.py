"""The order in which tasks run that are ready at the same instant: first in first out, random, or by priorities."""

from __future__ import annotations

import asyncio
import random
import re
from collections import deque
from typing import Protocol
from weakref import WeakKeyDictionary

from queuesim.simulation.process import task_of
from queuesim.simulation.timers import Handle, Timer

NAMES = re.compile(r"fifo|random|pct-[1-9]")
"""What a scenario calls an order."""
PATIENCE = 1000
"""Steps in a row of one task, at one instant, after which it comes last: it may wait for another one."""

Ready = deque[Handle | Timer]


class TaskOrder(Protocol):
    """Chooses among the callbacks that are ready."""

    rng: random.Random
    """Where whatever else is drawn comes from."""

    def arrange(self, ready: Ready) -> int:
        """Put the callbacks in order. Returns how many of the first ones run now, at least one."""
        ...


class RandomOrder:
    """Steps of tasks run in a random order, in the positions that they have; other callbacks keep theirs."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def arrange(self, ready: Ready) -> int:
        """See TaskOrder."""
        positions = [position for position, handle in enumerate(ready) if task_of(handle) is not None]
        if len(positions) > 1:
            steps = [ready[position] for position in positions]
            self.rng.shuffle(steps)
            for position, step in zip(positions, steps, strict=True):
                ready[position] = step
        return len(ready)


class PriorityOrder:
    """Tasks have random priorities, and the one with the highest runs until it waits. At `depth` - 1 random steps the
    task that runs gets the lowest priority. A bug that needs `depth` orderings of steps is found with a known
    probability (Burckhardt, Kothari, Musuvathi and Nagarakatte, A Randomized Scheduler with Probabilistic Guarantees
    of Finding Bugs, ASPLOS 2010).

    Args:
        depth: from 1.
        steps: about how many steps of tasks that compete a run has; the change points are drawn from these.
    """

    def __init__(self, rng: random.Random, depth: int, steps: int = 1000) -> None:
        self.rng = rng
        self._changes = {rng.randrange(steps) for _ in range(depth - 1)}
        self._priorities: WeakKeyDictionary[asyncio.Task[object], float] = WeakKeyDictionary()
        self._lowest = 0.0
        self._step = 0
        self._last: asyncio.Task[object] | None = None
        self._in_a_row = 0

    def arrange(self, ready: Ready) -> int:
        """See TaskOrder."""
        tasks = [task for handle in ready if (task := task_of(handle)) is not None]
        if len(tasks) < 2:
            self._last = None
            return len(ready)
        first = max(tasks, key=self._priority)
        self._in_a_row = self._in_a_row + 1 if first is self._last else 0
        self._last = first
        if self._step in self._changes or self._in_a_row > PATIENCE:
            self._lower(first)
            first = max(tasks, key=self._priority)
        self._step += 1
        # callbacks of no task, such as those that wake tasks, are not held up
        now = [handle for handle in ready if (task := task_of(handle)) is None or task is first]
        later = [handle for handle in ready if (task := task_of(handle)) is not None and task is not first]
        ready.clear()
        ready.extend([*now, *later])
        return len(now)

    def _priority(self, task: asyncio.Task[object]) -> float:
        found = self._priorities.get(task)
        if found is None:
            self._priorities[task] = found = self.rng.random()
        return found

    def _lower(self, task: asyncio.Task[object]) -> None:
        self._lowest -= 1.0
        self._priorities[task] = self._lowest
        self._in_a_row = 0


def make_order(name: str, rng: random.Random) -> TaskOrder | None:
    """The order of that name; None for "fifo".

    Raises:
        ValueError: there is none of that name.
    """
    if not NAMES.fullmatch(name):
        raise ValueError(f"{name!r} is not an order: write fifo, random, or pct-1 to pct-9")
    if name == "fifo":
        return None
    return RandomOrder(rng) if name == "random" else PriorityOrder(rng, int(name.removeprefix("pct-")))
