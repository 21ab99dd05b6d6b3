"""A soak: many random scenarios with faults, each judged by the oracles."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queuesim.metrics.recording import Recording
from queuesim.testing.found import DIRECTORY, save, smallest
from queuesim.testing.generate import random_scenario


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
    """By oracle; "stuck" for runs that could not go on."""
    told: Counter[str] = field(default_factory=Counter)
    """How many runs each thing was told of that can't be promised, by oracle."""
    found: list[Path] = field(default_factory=list)
    """The smallest scenarios that failed."""


def problems(recording: Recording) -> list[str]:
    """What is wrong with a run: the oracles that found something, and that it got stuck."""
    wrong = [check.name for check in recording.checks if not check.ok]
    stopped = recording.facts.stopped
    return [*wrong, "stuck"] if stopped is not None and stopped.stuck else wrong


def soak(
    schedules: int,
    seed: int = 0,
    duration: float = 300.0,
    *,
    backend: str = "sim",
    shuffle: bool = False,
    directory: Path = DIRECTORY,
    play: Callable[[dict[str, Any]], Recording] | None = None,
) -> Iterator[Campaign]:
    """Play so many random scenarios, and tell after each how it goes. What fails is made small and saved.

    Args:
        duration: seconds of load of each.
        shuffle: also draw the order in which ready tasks run, to look for races.
        directory: where failing scenarios are saved.
        play: in place of the backend.
    """
    played = play or (lambda scenario: _play(scenario, backend, shuffle))
    campaign = Campaign()
    for number in range(schedules):
        scenario = random_scenario(random.Random(f"soak/{seed}/{number}"), duration, f"soak-{seed}-{number}")
        recording = played(scenario)
        campaign.runs += 1
        campaign.jobs += len(recording.jobs)
        campaign.attempts += len(recording.attempts)
        campaign.simulated += recording.facts.duration
        campaign.faults.update(fault.kind for fault in recording.faults)
        campaign.told.update(check.name for check in recording.checks if check.ok and check.detail)
        wrong = problems(recording)
        if wrong:
            campaign.violations.update(wrong)
            small = smallest(scenario, lambda smaller: _fails(smaller, played, set(wrong)))  # noqa: B023
            campaign.found.append(save(small, directory))
        yield campaign


def _play(scenario: dict[str, Any], backend: str, shuffle: bool) -> Recording:
    from queuesim.scenario.runner import record
    from queuesim.scenario.schema import Scenario

    chosen = Scenario.model_validate(scenario)
    return record(chosen, chosen.seed, backend=backend, shuffle=shuffle)


def _fails(scenario: dict[str, Any], play: Callable[[dict[str, Any]], Recording], wrong: set[str]) -> bool:
    """Whether it fails in the same way. What a smaller scenario can't be is no failure."""
    from pydantic import ValidationError

    try:
        return bool(wrong.intersection(problems(play(scenario))))
    except ValidationError:
        return False
