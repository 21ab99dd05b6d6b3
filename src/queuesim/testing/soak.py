"""A soak: many random scenarios with faults, each judged by the oracles."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any
from zlib import crc32

from queuesim.core.errors import DelayedError, RateLimitError
from queuesim.core.job import Deduplication, Job, JobOptions
from queuesim.core.processor import Processor
from queuesim.core.queue import Queue
from queuesim.faults.base import Settings
from queuesim.faults.registry import FAULTS, survivable
from queuesim.results.recording import Recording
from queuesim.simulation.process import many_runs
from queuesim.testing.budget import Budget
from queuesim.text import as_file_name

# -- Random scenarios from a seed: workloads, and schedules of faults that a queue must survive

OVERDUE = "overdue-tasks-notification"
"""The type of the jobs that scans for overdue tasks make."""
STOCK = "queuesim.testing.soak:processor"
"""Handlers for what a scenario can't describe."""


def random_scenario(rng: random.Random, duration: float = 300.0, name: str = "generated") -> dict[str, Any]:
    """A scenario that a queue must survive: a workload, one to four faults, and time to drain."""
    jobs = {f"job-{i}": _job_type(rng) for i in range(1, rng.randint(2, 4))}
    load = _load(rng, duration)
    scenario: dict[str, Any] = {
        "name": name,
        "seed": rng.randrange(2**32),
        "duration": duration,
        "drain": True,
        "queue": _queue(rng),
        "workers": [_workers(rng, name) for name in (["w", "v"] if rng.random() < 0.25 else ["w"])],
        "jobs": jobs,
        "load": load,
        "faults": [_named(fault) for fault in random_faults(rng, duration)],
    }
    if rng.random() < 0.25:
        scenario["processor"] = STOCK
        chosen = rng.sample(["limited", "postponed", "unique"], rng.randint(1, 3))
        stock = {"name": "stock", "poisson": round(rng.uniform(0.1, 1.0), 3), "jobs": dict.fromkeys(chosen, 1.0)}
        # other loads do not draw them
        described = dict.fromkeys(jobs, 1.0)
        scenario["load"] = [{**entry, "jobs": described} for entry in load] + [stock]
    if rng.random() < 0.08 and find_spec("sqlalchemy") is not None:
        scenario["overdue"] = _overdue(rng, duration)
        jobs[OVERDUE] = {"weight": 0.0, "service": round(rng.uniform(0.01, 0.5), 3)}
    return scenario


def _named(fault: Settings) -> Settings:
    """The fault, with the load or the kind of workers that it means: there may be several."""
    return {kind: {**settings, **_names(FAULTS[kind].must_name)} for kind, settings in fault.items()}


def _names(key: str) -> Settings:
    return {key: {"load": "users", "worker": "w"}[key]} if key else {}


def _queue(rng: random.Random) -> dict[str, Any]:
    queue: dict[str, Any] = {
        "attempts": rng.randint(1, 4),
        "backoff": {"type": rng.choice(["fixed", "exponential"]), "delay": 1.0, "jitter": rng.choice([0.0, 0.5])},
    }
    if rng.random() < 0.15:
        queue["concurrency"] = rng.randint(1, 6)
    if rng.random() < 0.15:
        queue["rate_limit"] = _limit(rng)
    if rng.random() < 0.3:
        keep = [rng.randint(0, 30), "all", {"count": rng.randint(1, 50), "age": round(rng.uniform(1.0, 60.0), 3)}]
        queue["keep"] = {"completed": rng.choice(keep), "failed": rng.choice(keep)}
    if rng.random() < 0.2:
        queue["dead_letter"] = False
    if rng.random() < 0.2:
        queue["retry"] = {"network": {"attempts": rng.randint(1, 5), "backoff": 0.5}, "validation": {"retry": True}}
    return queue


def _limit(rng: random.Random) -> dict[str, Any]:
    return {"max": rng.randint(5, 50), "duration": round(rng.uniform(1.0, 20.0), 3)}


def _workers(rng: random.Random, name: str) -> dict[str, Any]:
    workers: dict[str, Any] = {"name": name, "count": rng.randint(1, 3), "concurrency": rng.randint(1, 5)}
    if rng.random() < 0.3:
        workers["limiter"] = _limit(rng)
    if rng.random() < 0.3:
        workers["lock_duration"] = round(rng.uniform(1.0, 10.0), 3)
        workers["stalled_interval"] = round(rng.uniform(1.0, 10.0), 3)
        workers["max_stalled"] = rng.randint(0, 2)
    return workers


def _job_type(rng: random.Random) -> dict[str, Any]:
    job: dict[str, Any] = {
        "service": {"exponential": round(rng.uniform(0.05, 2.0), 3)},
        "priority": rng.choice([0, 0, 1, 5]),
        "delay": rng.choice([0.0, 0.0, 5.0]),
        "errors": {"network": round(rng.uniform(0.0, 0.2), 3)},
    }
    if rng.random() < 0.15:
        job["lifo"] = True
    if rng.random() < 0.1:
        job["blocking"] = {"exponential": round(rng.uniform(0.01, 0.5), 3)}
    if rng.random() < 0.15:
        job["timeout"] = round(rng.uniform(0.5, 5.0), 3)
    if rng.random() < 0.1:
        job["poison"] = round(rng.uniform(0.01, 0.1), 3)
    return job


def _load(rng: random.Random, duration: float) -> list[dict[str, Any]]:
    rate = round(rng.uniform(0.2, 3.0), 3)
    load: list[dict[str, Any]] = [{"name": "users", rng.choice(["poisson", "poisson", "constant"]): rate}]
    if rng.random() < 0.2:
        closed = {"producers": rng.randint(1, 5), "think": {"exponential": round(rng.uniform(0.1, 3.0), 3)}}
        load.append({"name": "callers", "closed": closed})
    if rng.random() < 0.2:
        bulk = {"at": round(rng.uniform(0.0, 0.8) * duration, 3), "size": rng.randint(1, 60)}
        load.append({"name": "batch", "bulk": bulk})
    if rng.random() < 0.1:
        load.append({"name": "before", "backlog": rng.randint(1, 60)})
    return load


def _overdue(rng: random.Random, duration: float) -> dict[str, Any]:
    return {
        "every": max(round(duration / rng.randint(2, 8)), 1),
        "tasks": rng.randint(0, 40),
        "backlog": rng.randint(0, 40),
        "page_size": rng.choice([5, 100]),
        "per": rng.choice(["task", "page"]),
        "by": rng.choice(["scheduler", "timer"]),
        "delivery": rng.choice(["after-commit", "outbox"]),
    }


def random_faults(rng: random.Random, duration: float) -> list[dict[str, Any]]:
    """One to four faults of different kinds, for a run of `duration` seconds."""
    usual = [kind for kind in sorted(survivable()) if not FAULTS[kind].of_handlers]
    kinds = rng.sample(usual, rng.randint(1, 4))
    return [{kind: FAULTS[kind].draw(rng, duration)} for kind in kinds]


# -- Handlers that a soak plays beside those that scenarios describe: they put off, limit, and add jobs with one id

processor = Processor("soak")
"""Plays jobs of the types limited, postponed, unique and once."""


def _part_of(job: Job, steps: int) -> int:
    """A whole number from 0 to `steps` - 1 that depends on the job's id alone: a handler has no stream of its own."""
    return crc32(job.id.encode()) % steps


@processor.job("limited")
async def limited(job: Job) -> None:
    """At its first start it limits the queue for up to a second, if it has a limiter."""
    if job.attempts_started == 1:
        raise RateLimitError(0.1 * (1 + _part_of(job, 10)))
    await asyncio.sleep(0.1)


@processor.job("postponed")
async def postponed(job: Job) -> None:
    """At its first two starts it puts itself off by 0 to 3 seconds."""
    if job.attempts_started <= 2:
        raise DelayedError(float(_part_of(job, 4)))
    await asyncio.sleep(0.2)


@processor.job("unique")
async def unique(job: Job) -> None:
    """Adds a job under one of four deduplication ids, of which two are held for a time only."""
    which = _part_of(job, 4)
    assert job.broker is not None
    rule = Deduplication(f"id-{which}", ttl=2.0 if which < 2 else None)
    await Queue(job.broker).add("once", options=JobOptions(deduplication=rule))


@processor.job("once")
async def once(job: Job) -> None:
    """Takes half a second to three seconds."""
    await asyncio.sleep(0.5 * (1 + _part_of(job, 6)))


# -- What was found: a failing scenario made small, saved as a file, with the command that replays it

DIRECTORY = Path("scenarios/found")
"""Where failing scenarios are saved, below the current directory."""
TRIES = 100
"""Scenarios that are played, at most, to make a failing one smaller."""


def save(scenario: dict[str, Any], directory: Path = DIRECTORY) -> Path:
    """Write a scenario as a file that `queuesim run` takes. Its name is unique."""
    import yaml

    from queuesim.scenario.model import Scenario

    written = Scenario.model_validate(scenario).model_dump(mode="json", by_alias=True, exclude_unset=True)
    digest = hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:10]
    path = directory / f"{as_file_name(written['name'])}-{digest}.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    return path


def replay_command(path: Path, *, processor: str | None = None, shuffle: bool = False, backend: str = "sim") -> str:
    """The one command that plays it again."""
    words = ["queuesim", "run", quote(path.as_posix())]
    words += ["--backend", backend] if backend != "sim" else []
    words += ["--processor", processor] if processor else []
    words += ["--shuffle"] if shuffle else []
    return " ".join(words)


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
    """The state of a soak."""

    runs: int = 0
    jobs: int = 0
    attempts: int = 0
    simulated: float = 0.0
    """Seconds of virtual time."""
    faults: Counter[str] = field(default_factory=Counter)
    """How often each kind struck."""
    crashes: int = 0
    """Runs in which our own code failed."""
    violations: Counter[str] = field(default_factory=Counter)
    """By oracle; "stuck" for runs that could not go on; "crash: TYPE" for those in which our own code failed."""
    reported: Counter[str] = field(default_factory=Counter)
    """Runs in which an oracle reported what can't be guaranteed, by oracle."""
    judged: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of virtual time that each oracle judged."""
    asked: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of virtual time of the runs to which each oracle applies: those of scans only where there are some."""
    found: list[Found] = field(default_factory=list)

    def add(self, recording: Recording) -> None:
        """Count a run that came to its end."""
        duration = recording.facts.duration
        self.jobs += len(recording.jobs)
        self.attempts += len(recording.attempts)
        self.simulated += duration
        self.faults.update(fault.kind for fault in recording.faults)
        self.reported.update(check.name for check in recording.checks if check.ok and check.judged and check.detail)
        for check in recording.checks:
            if check.kind == "oracle":
                self.judged[check.name] += check.judged * duration
                self.asked[check.name] += duration


def problems(recording: Recording) -> list[str]:
    """What is wrong with a run: the oracles that found something, and that it got stuck."""
    wrong = [check.name for check in recording.checks if not check.ok]
    stopped = recording.facts.stopped
    return [*wrong, "stuck"] if stopped is not None and stopped.stuck else wrong


def soak(
    schedules: int | None = None,
    seed: int | Sequence[int] = 0,
    duration: float = 300.0,
    *,
    backend: str = "sim",
    budget: float | None = None,
    shuffle: bool = False,
    directory: Path = DIRECTORY,
    play: Play | None = None,
) -> Iterator[Campaign]:
    """Play random scenarios, and yield the state of the campaign after each. What fails is made small and saved.

    Args:
        schedules: how many to play, at most; None: as many as the budget allows.
        seed: what all of them are drawn from; or several seeds, which take turns.
        duration: seconds of load of each.
        budget: real seconds after which no further one is begun, beside the first; None: no limit.
        shuffle: also draw the order in which ready tasks run, to look for races.
        directory: where failing scenarios are saved.
        play: in place of the backend.

    Raises:
        ValueError: neither a number of schedules nor a budget is given, or one is not above 0.
    """
    for name, value in (("schedules", schedules), ("budget", budget)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}: the soak could play nothing")
    if schedules is None and budget is None:
        raise ValueError("a soak needs a number of schedules, or a budget in seconds")
    played = play or play_on(backend, shuffle=shuffle)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    campaign = Campaign()
    limit = Budget(budget)
    with many_runs() as after_run:
        for number in itertools.count() if schedules is None else range(schedules):
            if number and limit.left <= 0:
                break
            scenario = drawn(seeds[number % len(seeds)], number // len(seeds), duration)
            recording, wrong = attempt(scenario, played)
            campaign.runs += 1
            if recording is None:
                campaign.crashes += 1
            else:
                campaign.add(recording)
            if wrong:
                campaign.violations.update(wrong)
                campaign.found.append(_found(scenario, wrong, played, directory))
            del recording
            after_run()
            yield campaign


def drawn(seed: int, number: int, duration: float) -> dict[str, Any]:
    """The scenario of that number that is drawn from a seed."""
    return random_scenario(random.Random(f"soak/{seed}/{number}"), duration, f"soak-{seed}-{number}")


def attempt(scenario: dict[str, Any], play: Play) -> tuple[Recording | None, list[str]]:
    """Play a scenario. Returns what was recorded, None if our own code failed, and what is wrong."""
    try:
        recording = play(scenario)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
        return None, [f"crash: {type(error).__name__}"]
    return recording, problems(recording)


def _found(scenario: dict[str, Any], wrong: list[str], play: Play, directory: Path) -> Found:
    import yaml

    from queuesim.testing.shrinking import shrink

    kinds = set(wrong)
    small = shrink(scenario, lambda smaller: bool(kinds.intersection(attempt(smaller, play)[1])), tries=TRIES)
    path = save(small, directory)
    again = attempt(yaml.safe_load(path.read_text(encoding="utf-8")), play)[1]
    return Found(path, wrong, bool(kinds.intersection(again)))


def play_on(backend: str, *, shuffle: bool) -> Play:
    """A function that plays a scenario on a backend."""
    return lambda scenario: _play(scenario, backend, shuffle)


def _play(scenario: dict[str, Any], backend: str, shuffle: bool) -> Recording:
    from queuesim.results.little import check
    from queuesim.results.result import Result
    from queuesim.runs.virtual.engine import record
    from queuesim.scenario.model import Scenario
    from queuesim.scenario.processors import processor_of

    chosen = Scenario.model_validate(scenario)
    recording = record(chosen, chosen.seed, processor_of(chosen), backend=backend, shuffle=shuffle)
    recording.checks.append(check(Result(recording)))
    return recording
