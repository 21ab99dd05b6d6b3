"""A scenario for the oracles to judge, bugs that are planted in it, and what the oracles said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import queuesim
from queuesim import Result
from queuesim.brokers.memory import MemoryBroker
from queuesim.brokers.memory_store import ACTIVE_EVENT

Patch = pytest.MonkeyPatch

SCENARIO: dict[str, Any] = {
    "name": "judged",
    "duration": 120.0,
    "drain": True,
    "queue": {
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 2.0},
        "keep": {"completed": 20, "failed": 10},
        "concurrency": 5,
    },
    "workers": {"name": "w", "count": 2, "concurrency": 3, "limiter": {"max": 40, "duration": 10.0}},
    "jobs": {
        "plain": {"service": {"exponential": 0.8}, "errors": {"network": 0.1, "validation": 0.05}},
        "urgent": {"service": 0.2, "priority": 1},
        "later": {"service": 0.2, "priority": 5, "delay": 3.0},
    },
    "load": [{"name": "users", "poisson": 3.0}, {"name": "rush", "bulk": {"at": 30.0, "size": 100}}],
}
CRASHES = [{"worker.crash": {"every": {"exponential": 20.0}}}]


def played(**changes: Any) -> Result:
    return queuesim.run({**SCENARIO, **changes}, seed=3)


def found(result: Result) -> set[str]:
    """The oracles that found something."""
    checks = result.checks[(result.checks["kind"] == "oracle") & ~result.checks["ok"]]
    return set(checks["check"])


def wrap(patch: Patch, owner: type, name: str, around: Callable[..., Any]) -> None:
    """Put `around` in place of a method; it gets the method as its first argument."""
    original = getattr(owner, name)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        return around(original, self, *arguments, **named)

    patch.setattr(owner, name, method)


def every(count: int) -> Callable[[], bool]:
    """True at each `count`-th call."""
    calls = [0]

    def now() -> bool:
        calls[0] += 1
        return calls[0] % count == 0

    return now


def hush_starts(patch: Patch) -> None:
    """A bug: the queue does not tell of each tenth start."""
    silent = every(10)

    def start(original: Any, self: Any, *rest: Any) -> None:
        emit = self._emit
        if silent():
            self._emit = lambda entry: None if entry[1] is ACTIVE_EVENT else emit(entry)
        original(self, *rest)
        self._emit = emit

    wrap(patch, MemoryBroker, "_start", start)


def notes(result: Result) -> dict[str, str]:
    rows = result.checks[result.checks["kind"] == "oracle"]
    return {name: detail for name, detail in zip(rows["check"], rows["detail"], strict=True) if detail}
