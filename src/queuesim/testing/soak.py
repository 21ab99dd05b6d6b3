"""A soak: many random scenarios with faults, each judged by the oracles."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queuesim.metrics.recording import Recording
from queuesim.testing.found import DIRECTORY, save, smallest
from queuesim.testing.generate import random_scenario

Play = Callable[[dict[str, Any]], Recording]


@dataclass(slots=True)
class Found:
    """A scenario that failed, made small."""

    path: Path
    problems: list[str]
    replays: bool
    """Whether the saved file failed in the same way when it was read and played again."""


@dataclass(slots=True)
class Campaign:
    """What became of a soak so far."""

    runs: int = 0
    jobs: int = 0
    attempts: int = 0
    simulated: float = 0.0
    """Seconds of virtual time."""
    faults: Counter[str] = field(default_factory=Counter)
    """How often each kind struck."""
    violations: Counter[str] = field(default_factory=Counter)
    """By oracle; "stuck" for runs that could not go on; "crash: TYPE" for those in which our own code failed."""
    told: Counter[str] = field(default_factory=Counter)
    """How many runs each thing was told of that can't be promised, by oracle."""
    judged: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of virtual time that each oracle judged."""
    asked: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of virtual time of the runs to which each oracle applies: those of scans only where there are some."""
    found: list[Found] = field(default_factory=list)

    @property
    def crashes(self) -> int:
        """Runs in which our own code failed."""
        return sum(count for name, count in self.violations.items() if name.startswith(CRASH))

    def add(self, recording: Recording) -> None:
        """Count a run that came to its end."""
        duration = recording.facts.duration
        self.jobs += len(recording.jobs)
        self.attempts += len(recording.attempts)
        self.simulated += duration
        self.faults.update(fault.kind for fault in recording.faults)
        self.told.update(check.name for check in recording.checks if check.ok and check.judged and check.detail)
        for check in recording.checks:
            if check.kind == "oracle":
                self.judged[check.name] += check.judged * duration
                self.asked[check.name] += duration


CRASH = "crash: "
"""How the name of a problem begins that is no verdict."""


def problems(recording: Recording) -> list[str]:
    """What is wrong with a run: the oracles that found something, and that it got stuck."""
    wrong = [check.name for check in recording.checks if not check.ok]
    stopped = recording.facts.stopped
    return [*wrong, "stuck"] if stopped is not None and stopped.stuck else wrong


def soak(
    schedules: int,
    seed: int | Sequence[int] = 0,
    duration: float = 300.0,
    *,
    backend: str = "sim",
    shuffle: bool = False,
    directory: Path = DIRECTORY,
    play: Play | None = None,
) -> Iterator[Campaign]:
    """Play so many random scenarios, and tell after each how it goes. What fails is made small and saved.

    Args:
        seed: what all of them are drawn from; or several seeds, which take turns.
        duration: seconds of load of each.
        shuffle: also draw the order in which ready tasks run, to look for races.
        directory: where failing scenarios are saved.
        play: in place of the backend.
    """
    played = play or play_on(backend, shuffle=shuffle)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    campaign = Campaign()
    for number in range(schedules):
        scenario = drawn(seeds[number % len(seeds)], number // len(seeds), duration)
        recording, wrong = attempt(scenario, played)
        campaign.runs += 1
        if recording is not None:
            campaign.add(recording)
        if wrong:
            campaign.violations.update(wrong)
            campaign.found.append(_found(scenario, wrong, played, directory))
        yield campaign


def drawn(seed: int, number: int, duration: float) -> dict[str, Any]:
    """The scenario of that number that is drawn from a seed."""
    return random_scenario(random.Random(f"soak/{seed}/{number}"), duration, f"soak-{seed}-{number}")


def attempt(scenario: dict[str, Any], play: Play) -> tuple[Recording | None, list[str]]:
    """Play a scenario. Returns what was recorded, None if our own code failed, and what is wrong."""
    try:
        recording = play(scenario)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
        return None, [f"{CRASH}{type(error).__name__}"]
    return recording, problems(recording)


def _found(scenario: dict[str, Any], wrong: list[str], play: Play, directory: Path) -> Found:
    import yaml
    from pydantic import ValidationError

    from queuesim.scenario.schema import Scenario

    kinds = set(wrong)

    def fails(smaller: dict[str, Any]) -> bool:
        try:
            Scenario.model_validate(smaller)
        except ValidationError:
            # what a smaller scenario can't be is no failure
            return False
        return bool(kinds.intersection(attempt(smaller, play)[1]))

    small = smallest(scenario, fails)
    path = save(small, directory)
    again = attempt(yaml.safe_load(path.read_text(encoding="utf-8")), play)[1]
    return Found(path, wrong, bool(kinds.intersection(again)))


def play_on(backend: str, *, shuffle: bool) -> Play:
    """A function that plays a scenario on a backend."""
    return lambda scenario: _play(scenario, backend, shuffle)


def _play(scenario: dict[str, Any], backend: str, shuffle: bool) -> Recording:
    from queuesim.metrics.analysis.little import check
    from queuesim.metrics.result import Result
    from queuesim.scenario.reference import load_processor
    from queuesim.scenario.runner import record
    from queuesim.scenario.schema import Scenario

    chosen = Scenario.model_validate(scenario)
    own = None if chosen.processor is None else load_processor(chosen.processor, chosen.directory)
    recording = record(chosen, chosen.seed, own, backend=backend, shuffle=shuffle)
    recording.checks.append(check(Result(recording)))
    return recording
