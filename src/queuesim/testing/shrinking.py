"""Making a failing scenario small: fewer faults, jobs and workers, a shorter run, rounder numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from queuesim.scenario.model import Scenario

Settings = dict[str, Any]
"""A scenario as a mapping, or a part of one."""


def shrink(
    scenario: Settings,
    fails: Callable[[Settings], bool],
    *,
    fixed: Mapping[str, Any] | None = None,
    tries: int = 10_000,
) -> Settings:
    """The smallest scenario found that still fails.

    Args:
        fails: whether a smaller one fails; it is asked of valid scenarios only, and of each once. If it raises
            StopIteration, the smallest found until then is returned.
        fixed: keys that stay as they are.
        tries: how many to ask of, at most.
    """
    kept = fixed or {}
    tried: set[str] = set()
    again = True
    while again:
        again = False
        for smaller in smaller_ones(scenario, kept):
            if repr(smaller) in tried or not is_scenario(smaller):
                continue
            if len(tried) >= tries:
                return scenario
            tried.add(repr(smaller))
            try:
                again = fails(smaller)
            except StopIteration:
                return scenario
            if again:
                scenario = smaller
                break
    return scenario


def is_scenario(example: Settings) -> bool:
    """Whether a mapping is a scenario: parts that were drawn one by one may not fit each other."""
    try:
        Scenario.model_validate(example)
    except ValidationError:
        return False
    return True


def smaller_ones(example: Settings, fixed: Mapping[str, Any]) -> Iterator[Settings]:
    """Smaller neighbours of an example, the smallest first."""
    for key, make in SMALLER.items():
        if key not in fixed and key in example:
            for value in make(example[key], example):
                yield _without(example, key) if value is None else {**example, key: value}
    if not {"jobs", "load"} & set(fixed):
        yield from _fewer_types(example)


def _without(mapping: Settings, key: str) -> Settings:
    return {other: value for other, value in mapping.items() if other != key}


def _fewer_types(example: Settings) -> Iterator[Settings]:
    """Without one of the types of jobs, in the loads too."""
    jobs = example.get("jobs", {})
    for name in jobs if len(jobs) > 1 else ():
        load = [
            {**entry, "jobs": _without(entry["jobs"], name)} if isinstance(entry.get("jobs"), dict) else entry
            for entry in example.get("load", ())
        ]
        yield {**example, "jobs": _without(jobs, name), **({"load": load} if load else {})}


def _nothing(value: Any, example: Settings) -> Iterator[None]:
    """Without it."""
    yield None


def _fewer_faults(faults: list[Settings], example: Settings) -> Iterator[Any]:
    if len(faults) > 1:
        yield []
    for i in range(len(faults)):
        yield faults[:i] + faults[i + 1 :]
    for i, fault in enumerate(faults):
        ((kind, settings),) = fault.items()
        for simpler in _simpler(settings, example["duration"]):
            yield [*faults[:i], {kind: simpler}, *faults[i + 1 :]]


def _simpler(settings: Settings, duration: float) -> Iterator[Settings]:
    if "every" in settings:
        yield {**{key: value for key, value in settings.items() if key != "every"}, "at": round(duration / 4, 1)}
    if settings.get("probability", 1.0) < 1.0:
        yield {**settings, "probability": 1.0}
    if isinstance(settings.get("at"), list) and len(settings["at"]) > 1:
        yield {**settings, "at": settings["at"][:1]}
    for key, value in settings.items():
        if isinstance(value, float):
            yield from ({**settings, key: rounder} for rounder in _rounder(value))


def _rounder(value: float) -> Iterator[float]:
    for digits in (0, 1):
        if (rounder := round(value, digits)) != value and rounder > 0:
            yield rounder


def _fewer_loads(load: list[Settings], example: Settings) -> Iterator[Any]:
    if len(load) > 1:
        yield from ([entry] for entry in load)
    if len(load) > 2:
        yield from (load[:i] + load[i + 1 :] for i in range(len(load)))
    for i, entry in enumerate(load):
        for smaller in _smaller_load(entry):
            yield [*load[:i], smaller, *load[i + 1 :]]


def _smaller_load(entry: Settings) -> Iterator[Settings]:
    size = entry.get("bulk", {}).get("size", math.inf)
    kept = {key: value for key, value in entry.items() if key in ("jobs",)}
    for fewer in (1, 2, 3, 5, 10):
        if fewer < size:
            yield {"name": "once", "bulk": {"at": 0.0, "size": fewer}, **kept}


def _shorter(duration: Any, example: Settings) -> Iterator[float]:
    if not isinstance(duration, (int, float)):
        return  # as a user writes it
    for shorter in (1.0, 5.0, 10.0, 30.0, float(round(duration / 2)), float(round(duration * 0.8))):
        if 1.0 <= shorter < duration:
            yield shorter


def _fewer_workers(workers: Any, example: Settings) -> Iterator[Any]:
    """Workers of fewer kinds, fewer of a kind, or without what they need not have."""
    if isinstance(workers, list):
        if len(workers) > 1:
            yield from (workers[:i] + workers[i + 1 :] for i in range(len(workers)))
        for i, kind in enumerate(workers):
            yield from ([*workers[:i], fewer, *workers[i + 1 :]] for fewer in _fewer_workers(kind, example))
        return
    for key in ("count", "concurrency"):
        yield from ({**workers, key: fewer} for fewer in (1, 2) if fewer < workers.get(key, 1))
    optional = sorted(set(workers) & {"limiter", "lock_duration", "stalled_interval", "max_stalled"})
    if len(optional) > 1:
        yield {key: value for key, value in workers.items() if key not in optional}
    yield from (_without(workers, key) for key in optional)


def _simpler_queue(queue: Settings, example: Settings) -> Iterator[Any]:
    yield None
    yield from (_without(queue, key) for key in sorted(queue))
    if queue.get("attempts", 1) > 2:
        yield {**queue, "attempts": 2}


def _simpler_order(order: str, example: Settings) -> Iterator[str]:
    if order != "fifo":
        yield "fifo"
    if order.startswith("pct") and order != "pct-1":
        yield "pct-1"


def _smaller_seed(seed: int, example: Settings) -> Iterator[int]:
    if seed:
        yield 0


SMALLER: dict[str, Callable[[Any, Settings], Iterator[Any]]] = {
    "faults": _fewer_faults,
    "load": _fewer_loads,
    "overdue": _nothing,
    "order": _simpler_order,
    "workers": _fewer_workers,
    "queue": _simpler_queue,
    "duration": _shorter,
    "seed": _smaller_seed,
}
"""By key of a scenario, what makes its value smaller; None leaves the key out."""
