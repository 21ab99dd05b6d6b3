"""A search for scenarios that bring handlers down: drawn, mutated where they reached something new, and made small."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from types import CodeType
from typing import Any

import numpy as np

from queuesim.faults.awaits import AwaitFault
from queuesim.faults.base import Fault
from queuesim.faults.registry import FAULTS, survivable
from queuesim.faults.workers import WorkerBlock, WorkerFreeze
from queuesim.results.fault_kinds import Effect
from queuesim.results.recording import ENDINGS, Ending, Recording
from queuesim.runs.trace import Place, Tracer, awaits_of
from queuesim.scenario.model import Scenario
from queuesim.simulation.process import many_runs
from queuesim.testing.budget import Budget, OutOfTime
from queuesim.testing.shrinking import Settings, is_scenario, shrink
from queuesim.text import counted
from queuesim.units import format_duration

ORDERS = ("fifo", "fifo", "random", "pct-1", "pct-2", "pct-3")
TRIES = 100
"""Times that an example is drawn, at most: parts that are drawn one by one may not fit each other."""
MUTATED = 0.5
"""Share of the examples that are made from one that reached something new, once there is one."""
NOT_FOR_ALL = Effect.HANGS | Effect.WRONG_CLOCK
"""Kinds of faults that are not drawn unless they are asked for: a hang holds a run up, a wrong clock keeps oracles from
judging. Neither is a burst, which must name its load."""
LONG = (WorkerFreeze, WorkerBlock)
"""Faults that last longer than the lock, so that another worker takes the job: that is what finds bugs."""


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
    """The kinds of faults that are drawn unless others are asked for: those that can be played here."""
    kinds = [(kind, FAULTS[kind]) for kind in survivable()]
    return [kind for kind, cls in kinds if not cls.effects & NOT_FOR_ALL and cls.must_name != "load" and _is_here(cls)]


def _is_here(cls: type[Fault]) -> bool:
    return not cls.needs_module or find_spec(cls.needs_module) is not None


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


PHASES = ("waiting", "first attempt", "between attempts", "later attempt", "finished")
"""Phases of a job: before its first attempt, during it, and so on."""


def phases_met(recording: Recording, began: float, ended: float) -> Iterator[str]:
    """The phases in which there were jobs at some time of a span, in seconds since the run began."""
    jobs, attempts = recording.jobs, recording.attempts
    until = np.where(np.isnan(attempts["ended"]), math.inf, attempts["ended"])
    first = attempts["attempt"] == 1
    starts = dict(zip(attempts["number"][first], attempts["started"][first], strict=True))
    started = np.array([starts.get(number, math.inf) for number in jobs["number"]])
    now = (attempts["started"] <= ended) & (until >= began)
    over = np.isin(attempts["ending"], (Ending.OK, Ending.FAILED))
    following = {(row["number"], row["attempt"]): row["started"] for row in attempts}
    again = np.array([following.get((row["number"], row["attempt"] + 1), math.inf) for row in attempts])
    met = (
        bool(np.any((jobs["added"] <= ended) & (started > began))),
        bool(np.any(now & first)),
        bool(np.any(~over & (until <= ended) & (again >= began))),
        bool(np.any(now & ~first)),
        bool(np.any(over & (until < ended))),
    )
    return (phase for phase, is_met in zip(PHASES, met, strict=True) if is_met)


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
    phases: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often faults of a kind met jobs in a phase, by kind and phase."""
    lines: dict[CodeType, set[int]] = field(default_factory=dict)
    """By function of the user's, the lines at which attempts were suspended in it."""
    types: Counter[str] = field(default_factory=Counter)
    """Attempts by type of job."""
    orders: Counter[str] = field(default_factory=Counter)
    reached: set[Key] = field(default_factory=set)
    judged: Counter[str] = field(default_factory=Counter)
    """In how many runs each oracle judged."""
    cut: int = 0
    """Examples that the budget cut short."""
    never: list[str] = field(default_factory=list)
    """Kinds of faults that were to be drawn and struck in no run, and types of jobs that were to be played and never
    started."""

    def add(self, example: Settings, recording: Recording, tracer: Tracer) -> bool:
        """Count a run. True if it reached something new."""
        self.jobs += len(recording.jobs)
        self.attempts += len(recording.attempts)
        self.awaits += tracer.awaits
        self.kinds.update(fault.kind for fault in recording.faults)
        for fault in recording.faults:
            end = math.inf if math.isnan(fault.ended) else fault.ended
            self.phases.update((fault.kind, phase) for phase in phases_met(recording, fault.began, end))
        for code, lines in tracer.lines.items():
            self.lines.setdefault(code, set()).update(lines)
        types = dict(zip(recording.jobs["number"], recording.jobs["name"], strict=True))
        self.types.update(recording.names[types[number]] for number in recording.attempts["number"] if number in types)
        self.orders[example.get("order", "fifo")] += 1
        self.judged.update(row.name for row in recording.checks if row.kind == "oracle" and row.judged > 0)
        new = reached(recording, tracer) - self.reached
        self.reached |= new
        return bool(new)

    def properties(self) -> dict[str, str]:
        """The main figures, by name, for reports of tests."""
        figures = {"examples": self.examples, "seconds": round(self.seconds, 1), "jobs": self.jobs}
        figures |= {"attempts": self.attempts, "awaits": self.awaits, "faults": self.kinds.total()}
        return {name: str(value) for name, value in figures.items()} | {"never struck": ", ".join(self.never)}

    def __str__(self) -> str:
        """What was tried and reached, a line each."""
        tried = f"{counted(self.examples, 'example')} in {format_duration(round(self.seconds, 1))}"
        lines = [f"{tried}: {self.jobs:,} jobs, {self.attempts:,} attempts, {self.awaits:,} awaits"]
        lines.append("orders of tasks: " + _counts(self.orders))
        lines += ["faults that struck, and how often they met jobs in each phase:", *self._kinds()]
        lines += ["awaits of handlers, and how attempts ended after them:", *self._places()]
        lines.append("oracles that judged: " + _counts(self.judged))
        never = [*self.never, *(f"{place}  {place.code}" for place in self.awaits_not_reached())]
        lines.append("never reached: " + (", ".join(never) or "nothing of what was to be played"))
        return "\n".join(lines)

    def awaits_not_reached(self) -> list[Place]:
        """The awaits, in functions of the user's that ran, at which no attempt was ever suspended."""
        reached = {Place(code.co_filename, line) for code, lines in self.lines.items() for line in lines}
        return sorted(set().union(*(awaits_of(code) for code in self.lines)) - reached)

    def _kinds(self) -> Iterator[str]:
        if not self.kinds:
            yield "  none"
            return
        yield "  " + "".join((f"{'':20}", f"{'struck':>8}", *(f"{phase:>18}" for phase in PHASES)))
        for kind, count in sorted(self.kinds.items()):
            met = (f"{self.phases[kind, phase]:>18,}" for phase in PHASES)
            yield "  " + "".join((f"{kind:20}", f"{count:>8,}", *met))

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

    def run(
        self, examples: int, budget: Budget, progress: Callable[[Account], None] = lambda account: None
    ) -> Find | None:
        """The first example that fails; None if none of so many does, or the time is up. `progress` is called after
        each example."""
        account = self.account
        with many_runs() as after_run:
            for number in range(1, examples + 1):
                if budget.left <= 0:
                    break
                example = self._example(number)
                try:
                    problems = self._try(example, number, budget)
                except OutOfTime:
                    account.cut += 1
                    break
                progress(account)
                if problems:
                    return Find(example, problems, number, budget.spent)
                after_run()
        account.seconds = budget.spent
        account.never = sorted(kind for kind in self._space.kinds if not account.kinds[kind])
        account.never += [f"jobs of the type {name}" for name in self._space.jobs if not account.types[name]]
        return None

    def _try(self, example: Settings, number: int, budget: Budget) -> list[str]:
        """Play an example, and count it. Returns what is wrong."""
        recording, tracer = self.play(example, budget)
        self.account.examples, self.account.seconds = number, budget.spent
        if self.account.add(example, recording, tracer):
            self._corpus.append(example)
        return self._fails(recording)

    def play(self, example: Settings, budget: Budget) -> tuple[Recording, Tracer]:
        """Play one example."""
        tracer = Tracer()
        return self._play(example, tracer, budget.check), tracer

    def _example(self, number: int) -> Settings:
        rng = random.Random(f"search/{self._seed}/{number}")
        kinds = self._space.kinds
        focus = kinds[(number - 1) % len(kinds)] if kinds else None
        for _ in range(TRIES):
            if self._corpus and rng.random() < MUTATED:
                example = mutate(rng, rng.choice(self._corpus[-50:]), self._space, focus)
            else:
                example = self._space.draw(rng, focus)
            if is_scenario(example):
                return example
        # it is no accident that nothing fits: the error says what is wrong with what was given
        Scenario.model_validate(example)
        return example

    def shrink(self, find: Find, budget: Budget) -> Find:
        """The smallest example found that fails in the same way, until the time is up."""
        wanted = set(find.problems)

        def fails(smaller: Settings) -> bool:
            if budget.left <= 0:
                raise StopIteration
            try:
                return bool(wanted.intersection(self._fails(self.play(smaller, budget)[0])))
            except OutOfTime:
                return False

        return replace(find, example=shrink(find.example, fails, fixed=self._space.fixed))
