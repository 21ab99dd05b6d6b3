"""A search for scenarios that bring handlers down: drawn, mutated where they reached something new, and made small."""

from __future__ import annotations

import copy
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from queuesim.error import QueuesimError
from queuesim.faults.awaits import AwaitFault
from queuesim.faults.registry import FAULTS, survivable
from queuesim.faults.workers import WorkerBlock, WorkerFreeze
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import ENDINGS, Ending, Recording
from queuesim.runs.trace import Place, Tracer
from queuesim.scenario.model import Scenario
from queuesim.text import counted
from queuesim.units import format_duration

Settings = dict[str, Any]
"""A scenario as a mapping, or a part of one."""

ORDERS = ("fifo", "fifo", "random", "pct-1", "pct-2", "pct-3")
MUTATED = 0.5
"""Share of the examples that are made from one that reached something new, once there is one."""
NOT_FOR_ALL = Effect.HANGS | Effect.WRONG_CLOCK
"""Kinds of faults that are not drawn unless they are asked for: a hang holds a run up, a wrong clock keeps oracles from
judging. Neither is a burst, which must name its load."""
LONG = (WorkerFreeze, WorkerBlock)
"""Faults that last longer than the lock, so that another worker takes the job: that is what finds bugs."""


class OutOfTime(QueuesimError):  # noqa: N818 - a state of the search, not a mistake
    """The budget is used up in the middle of a run."""


# -- Drawing


@dataclass(frozen=True, slots=True)
class Space:
    """What examples are drawn from.

    Attributes:
        jobs: by type, what a scenario says of its jobs.
        duration: seconds of load at most.
        kinds: of faults.
        fixed: keys of the scenario that are not drawn.
    """

    jobs: Mapping[str, Any]
    duration: float
    kinds: Sequence[str]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, rng: random.Random, focus: str | None) -> Settings:
        """A scenario: each draws a subset of all features (swarm testing: Groce et al., ISSTA 2012), with one kind of
        faults in focus."""
        duration = round(min(self.duration, math.exp(rng.uniform(math.log(3.0), math.log(max(self.duration, 3.1))))), 1)
        workers = self._workers(rng)
        kinds = [kind for kind in self.kinds if rng.random() < 2.0 / max(len(self.kinds), 2)][:3]
        if focus is not None and focus not in kinds:
            kinds.append(focus)
        drawn = {
            "name": "found",
            "seed": rng.randrange(2**16),
            "duration": duration,
            "drain": 600.0,
            "order": rng.choice(ORDERS),
            "queue": self._queue(rng),
            "workers": workers,
            "jobs": copy.deepcopy(dict(self.jobs)),
            "load": self._load(rng, duration),
            "faults": [self.fault(rng, kind, duration, workers) for kind in kinds],
        }
        return {key: value for key, value in drawn.items() if value != {}} | copy.deepcopy(dict(self.fixed))

    def fault(self, rng: random.Random, kind: str, duration: float, workers: Settings) -> Settings:
        """One fault of that kind."""
        settings = FAULTS[kind].draw(rng, duration)
        if issubclass(FAULTS[kind], LONG) and rng.random() < 0.7:
            lock = workers.get("lock_duration", 30.0) + workers.get("stalled_interval", 30.0)
            settings["for"] = round(lock * rng.uniform(1.05, 2.0), 1)
        if issubclass(FAULTS[kind], AwaitFault) and rng.random() < 0.5:
            settings["nth"] = rng.choice((1, 1, 2, 2, 3, 4))
        return {kind: settings}

    def _queue(self, rng: random.Random) -> Settings:
        queue: Settings = {}
        if rng.random() < 0.5:
            queue = {"attempts": rng.choice((2, 3, 5)), "backoff": rng.choice((0.1, 1.0))}
        return queue

    def _workers(self, rng: random.Random) -> Settings:
        workers: Settings = {"name": "w", "count": rng.choice((1, 1, 2, 3)), "concurrency": rng.choice((1, 2, 5))}
        if rng.random() < 0.5:
            workers["lock_duration"] = rng.choice((1.0, 2.0, 5.0))
            workers["stalled_interval"] = rng.choice((0.5, 1.0, 5.0))
        return workers

    def _load(self, rng: random.Random, duration: float) -> list[Settings]:
        size = rng.choice((1, 2, 3, 5, 10, 30))
        load: list[Settings] = []
        if rng.random() < 0.5:
            load.append({"name": "burst", "bulk": {"at": 0.0, "size": size}})
        if not load or rng.random() < 0.5:
            load.append({"name": "steady", "poisson": round(rng.uniform(2.0, 40.0) / duration, 2)})
        return load


def usual_kinds() -> list[str]:
    """The kinds of faults that are drawn unless others are asked for."""
    return [
        kind for kind in survivable() if not FAULTS[kind].effects & NOT_FOR_ALL and FAULTS[kind].must_name != "load"
    ]


def mutate(rng: random.Random, example: Settings, space: Space, focus: str | None) -> Settings:
    """A neighbour of an example: one thing of it drawn anew."""
    child, other = copy.deepcopy(example), space.draw(rng, focus)
    what = rng.choice(("seed", "order", "fault", "fault", "faults", "load", "workers", "queue"))
    if what == "fault" and other.get("faults"):
        faults = child.setdefault("faults", [])
        if faults and rng.random() < 0.5:
            faults[rng.randrange(len(faults))] = rng.choice(other["faults"])
        else:
            faults.append(rng.choice(other["faults"]))
    elif what in other:
        child[what] = other[what]
    return child | copy.deepcopy(dict(space.fixed))


# -- What was reached


Key = tuple[Any, ...]


def reached(recording: Recording, tracer: Tracer) -> set[Key]:
    """What a run reached: endings of attempts under faults of each kind, changes of jobs' states, lines at which
    handlers were suspended, and those after which an attempt ended in each way."""
    attempts, events = recording.attempts, recording.events
    changes = np.unique(events[["kind", "previous"]])
    found: set[Key] = {("state", int(kind), int(before)) for kind, before in changes}
    for fault in recording.faults:
        end = math.inf if math.isnan(fault.ended) else fault.ended
        within = attempts[(attempts["started"] <= end) & ~(attempts["ended"] < fault.began)]
        for ending, number in np.unique(within[["ending", "attempt"]]):
            found.add(("fault", fault.kind, ENDINGS[ending], min(int(number), 3)))
    last: dict[tuple[int, int], Place] = {}
    for step in tracer.steps:
        found.add(("await", step.place, min(step.attempt, 3)))
        last[step.number, step.attempt] = step.place
    endings = dict(zip(zip(attempts["number"], attempts["attempt"], strict=True), attempts["ending"], strict=True))
    for attempt, place in last.items():
        found.add(("end", place, ENDINGS[endings.get(attempt, Ending.LOST)], min(attempt[1], 3)))
    return found


# -- Searching

Play = Callable[[Settings, Tracer, Callable[[float, int], None]], Recording]
"""Plays a scenario; the last argument is the progress that it must report, which may raise OutOfTime."""
Fails = Callable[[Recording], list[str]]
"""The names of what is wrong with a run; none if nothing is."""


@dataclass(slots=True)
class Find:
    """An example that failed."""

    example: Settings
    problems: list[str]
    number: int
    """Which example it was, from 1."""
    seconds: float
    """Until it was found."""


@dataclass(slots=True)
class Account:
    """What a search has tried and reached."""

    examples: int = 0
    seconds: float = 0.0
    jobs: int = 0
    attempts: int = 0
    awaits: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Faults that struck, by kind."""
    orders: Counter[str] = field(default_factory=Counter)
    reached: set[Key] = field(default_factory=set)
    judged: Counter[str] = field(default_factory=Counter)
    """In how many runs each oracle judged."""
    cut: int = 0
    """Examples that the budget cut short."""
    never: list[str] = field(default_factory=list)
    """Kinds of faults that were to be drawn and struck in no run."""

    def add(self, example: Settings, recording: Recording, tracer: Tracer) -> bool:
        """Count a run. True if it reached something new."""
        self.jobs += len(recording.jobs)
        self.attempts += len(recording.attempts)
        self.awaits += tracer.awaits
        self.kinds.update(fault.kind for fault in recording.faults)
        self.orders[example.get("order", "fifo")] += 1
        self.judged.update(row.name for row in recording.checks if row.kind == "oracle" and row.judged > 0)
        new = reached(recording, tracer) - self.reached
        self.reached |= new
        return bool(new)

    def __str__(self) -> str:
        """What was tried and reached, a line each."""
        tried = f"{counted(self.examples, 'example')} in {format_duration(round(self.seconds, 1))}"
        lines = [f"{tried}: {self.jobs:,} jobs, {self.attempts:,} attempts, {self.awaits:,} awaits"]
        lines.append("orders of tasks: " + _counts(self.orders))
        lines.append("faults that struck: " + (_counts(self.kinds) or "none"))
        if self.never:
            lines.append("faults that never struck: " + ", ".join(self.never))
        lines += ["awaits of handlers, and how attempts ended after them:", *self._places()]
        lines.append("oracles that judged: " + _counts(self.judged))
        return "\n".join(lines)

    def _places(self) -> Iterator[str]:
        endings: dict[Place, set[str]] = {key[1]: set() for key in self.reached if key[0] == "await"}
        for key in self.reached:
            if key[0] == "end":
                endings[key[1]].add(key[2])
        if not endings:
            yield "  none: the handlers never await, so that nothing can happen in the middle of them"
        for place, ends in sorted(endings.items()):
            yield f"  {place}  {place.code}: {', '.join(sorted(ends)) or 'went on'}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items()))


class Clock:
    """A budget in real seconds."""

    def __init__(self, seconds: float | None) -> None:
        self._began = time.monotonic()
        self._seconds = math.inf if seconds is None else seconds

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left; infinity without a budget."""
        return self._seconds - self.spent

    def check(self, simulated: float, ended: int) -> None:
        """The progress of a run: raises OutOfTime when nothing is left."""
        if self.left <= 0:
            raise OutOfTime("the budget is used up")


class Search:
    """Looks for an example that fails.

    Args:
        space: what examples are drawn from.
        play: plays one.
        fails: what is wrong with a run.
        seed: what everything is drawn from.
    """

    def __init__(self, space: Space, play: Play, fails: Fails, seed: int = 0) -> None:
        self.account = Account()
        self._space = space
        self._play = play
        self._fails = fails
        self._seed = seed
        self._corpus: list[Settings] = []

    def run(self, examples: int, clock: Clock) -> Find | None:
        """The first example that fails; None if none of so many does, or the time is up."""
        account = self.account
        for number in range(1, examples + 1):
            if clock.left <= 0:
                break
            example = self._example(number)
            try:
                recording, tracer = self.play(example, clock)
            except OutOfTime:
                account.cut += 1
                break
            account.examples = number
            if account.add(example, recording, tracer):
                self._corpus.append(example)
            if problems := self._fails(recording):
                return Find(example, problems, number, clock.spent)
        account.seconds = clock.spent
        account.never = sorted(kind for kind in self._space.kinds if not account.kinds[kind])
        return None

    def play(self, example: Settings, clock: Clock) -> tuple[Recording, Tracer]:
        """Play one example."""
        tracer = Tracer()
        return self._play(example, tracer, clock.check), tracer

    def _example(self, number: int) -> Settings:
        rng = random.Random(f"search/{self._seed}/{number}")
        kinds = self._space.kinds
        focus = kinds[(number - 1) % len(kinds)] if kinds else None
        while True:
            if self._corpus and rng.random() < MUTATED:
                example = mutate(rng, rng.choice(self._corpus[-50:]), self._space, focus)
            else:
                example = self._space.draw(rng, focus)
            if is_scenario(example):
                return example

    # -- making it small

    def shrink(self, find: Find, clock: Clock) -> Find:
        """The smallest example found that fails in the same way: fewer faults, jobs, workers, shorter, rounder."""
        smallest, again = find.example, True
        wanted = set(find.problems)
        tried: set[str] = set()
        while again:
            again = False
            for smaller in smaller_ones(smallest, self._space.fixed):
                if repr(smaller) in tried or not is_scenario(smaller):
                    continue
                tried.add(repr(smaller))
                if clock.left <= 0:
                    return Find(smallest, find.problems, find.number, find.seconds)
                try:
                    problems = self._fails(self.play(smaller, clock)[0])
                except OutOfTime:
                    continue
                if wanted & set(problems):
                    smallest, again = smaller, True
                    break
        return Find(smallest, find.problems, find.number, find.seconds)


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
                yield (
                    {**{k: v for k, v in example.items() if k != key}, key: value}
                    if value is not None
                    else {k: v for k, v in example.items() if k != key}
                )


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
    for i, entry in enumerate(load):
        for smaller in _smaller_load(entry):
            yield [*load[:i], smaller, *load[i + 1 :]]


def _smaller_load(entry: Settings) -> Iterator[Settings]:
    size = entry.get("bulk", {}).get("size", math.inf)
    kept = {key: value for key, value in entry.items() if key in ("jobs",)}
    for fewer in (1, 2, 3, 5, 10):
        if fewer < size:
            yield {"name": "once", "bulk": {"at": 0.0, "size": fewer}, **kept}


def _shorter(duration: float, example: Settings) -> Iterator[float]:
    for shorter in (1.0, 5.0, 10.0, 30.0, float(round(duration / 2)), float(round(duration * 0.8))):
        if 1.0 <= shorter < duration:
            yield shorter


def _fewer_workers(workers: Any, example: Settings) -> Iterator[Any]:
    if not isinstance(workers, dict):
        return
    for count in (1, 2):
        if count < workers.get("count", 1):
            yield {**workers, "count": count}
    for concurrency in (1, 2):
        if concurrency < workers.get("concurrency", 1):
            yield {**workers, "concurrency": concurrency}
    rest = {key: value for key, value in workers.items() if key not in ("lock_duration", "stalled_interval")}
    if rest != workers:
        yield rest


def _simpler_queue(queue: Settings, example: Settings) -> Iterator[Any]:
    yield None
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
    "order": _simpler_order,
    "workers": _fewer_workers,
    "queue": _simpler_queue,
    "duration": _shorter,
    "seed": _smaller_seed,
}
"""By key of a scenario, what makes its value smaller; None leaves the key out."""
