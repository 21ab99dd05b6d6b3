"""Tasks: runs of scenarios as data, which any process can play, and what each of them measured."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from queuesim.core.processor import Processor
from queuesim.error import QueuesimError
from queuesim.experiments.figures import figure
from queuesim.results.levels import backlog
from queuesim.results.recording import StopReason
from queuesim.runs.choice import expected_jobs
from queuesim.runs.compiled.reasons import UnplayableError
from queuesim.runs.invariants import Given as Invariants
from queuesim.runs.invariants import Invariant
from queuesim.runs.run import run, scenario_for
from queuesim.scenario.model import BackendError, Scenario, check_backend
from queuesim.scenario.processors import ProcessorFactory, processor_of, reference_of, title
from queuesim.scenario.processors import Source as ProcessorSource

if TYPE_CHECKING:
    from queuesim.results.result import Result
    from queuesim.scenario.loading import Source


# -- Code of the user's own, and how to play


class SendError(QueuesimError):
    """Something can't be sent to another process; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Playing:
    """How the runs of an experiment are played: code of the user's own, and options of `queuesim.run`."""

    processor: ProcessorSource | ProcessorFactory | None = None
    shared: Callable[[], Any] | str | None = None
    invariants: Invariants = None
    backend: str = "sim"
    shuffle: bool = False
    handler_limit: float = 10.0
    allow_io: tuple[str, ...] = ()
    no_limit: bool = False

    def __post_init__(self) -> None:
        check_backend(self.backend)
        if self.backend == "redis":
            raise BackendError("experiments are played in virtual time: choose sim or fakeredis")

    @property
    def own_objects(self) -> list[tuple[str, Any]]:
        """The user's own objects, each with what it is given as. References are not among them."""
        given: list[tuple[str, Any]] = [("processor", self.processor), ("shared", self.shared)]
        given += [("invariants", one) for one in _each_invariant(self.invariants)]
        return [(name, value) for name, value in given if value is not None and not isinstance(value, str)]

    def check_sendable(self) -> None:
        """Raise SendError for an object that another process can't find."""
        for name, value in self.own_objects:
            found = value.reference if isinstance(value, (ProcessorFactory, Invariant)) else reference_of(value)
            if found is None:
                raise SendError(
                    f"{name}, {_described(value)}, can't be sent to another process: write it as module:attribute, or "
                    "as a function or class in a module, or play in this process (executor=None)"
                )

    def prototype(self, scenario: Scenario) -> Processor | None:
        """A processor as the runs of the scenario have it, for arithmetic; None if the scenario describes all.

        Raises:
            ProcessorImportError, FactoryError: it can't be made.
        """
        source = self.processor
        if source is None:
            return processor_of(scenario)
        if isinstance(source, ProcessorFactory):
            factory = source
        else:
            factory = ProcessorFactory(source, self.shared or scenario.shared, scenario.directory)
        return factory.make(factory.make_shared())[0]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `queuesim.run`."""
        names = ("processor", "shared", "invariants", "backend", "shuffle", "handler_limit", "allow_io", "no_limit")
        return {name: getattr(self, name) for name in names}


def _each_invariant(given: Invariants) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        return list(given.values())
    return list(given) if isinstance(given, Sequence) else [given]


def _described(value: Any) -> str:
    if isinstance(value, ProcessorFactory):
        value = value.source
    if isinstance(value, Invariant):
        value = value.check
    name = title(value) if callable(value) else f"a {type(value).__name__}"
    module = getattr(value, "__module__", None)
    return f"{name} of the main module" if module == "__main__" and callable(value) else name


# -- Tasks


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be played. It is small, and all of it can be sent to another process."""

    scenario: str
    """The scenario as JSON: see `document_of`."""
    directory: str
    """Where the scenario's file is."""
    files: str
    """A digest of the files that the scenario names; "" if it names none."""
    seed: int
    measured: tuple[str, ...]
    """The names of the figures to measure: see `queuesim.experiments.figures`."""
    playing: Playing = Playing()
    fast: bool = False
    """Whether to try the compiled engine even if the run is small: see `fast`. The figures are the same."""
    keep: str | None = None
    """Directory to write the whole result to, as Parquet; None: it is thrown away."""


def document_of(scenario: Scenario) -> str:
    """A scenario as JSON, without its directory. The same text means the same scenario."""
    return json.dumps(scenario.model_dump(mode="json", exclude_unset=True, by_alias=True), ensure_ascii=False)


def files_of(scenario: Scenario) -> str:
    """A digest of the contents of the files that a scenario names; "" if it names none."""
    files = [entry.trace.file for entry in scenario.load if entry.trace is not None]
    services = [service for job in scenario.jobs.values() for service in (job.service, job.blocking)]
    files += [each.empirical.file for each in services if each is not None and each.empirical is not None]
    return digest_of(files) if files else ""


def digest_of(files: Iterable[Path]) -> str:
    """A digest of the contents of files, in their order."""
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def scenario_of(task: Task) -> Scenario:
    """The scenario of a task. Successive runs of one scenario share it, with its tables and traces."""
    return _scenario(task.scenario, task.directory, task.files)


@lru_cache(maxsize=64)
def _scenario(document: str, directory: str, files: str) -> Scenario:
    # a file that has changed makes another scenario of the same text
    # without the directory: the names of files have been resolved against it already
    scenario = Scenario.model_validate_json(document)
    scenario._directory = Path(directory)
    return scenario


RUN = 2e-3
"""Seconds for a run of next to nothing, at least; measured: 4 milliseconds."""
LOADING = 50_000
"""Jobs that the virtual loop plays while a process loads the compiled engine from numba's cache: it takes a second, and
a job takes 18 microseconds less afterwards. Measured with judging and frames, in processor time: 13 against 10 ms for
100 jobs, 32 against 13 ms for 1,000, 215 against 42 ms for 10,000."""


def fast(scenario: Scenario, runs: float) -> bool:
    """Whether small runs should be played by the compiled engine, because so many are played in one process that
    loading it pays."""
    return expected_jobs(scenario) * runs >= LOADING


# -- What a run measured


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """How a check of one run came out."""

    name: str
    kind: str
    """See `CheckRow.kind`."""
    status: str
    """See STATUSES."""
    value: float
    limit: str
    unit: str
    detail: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run measured: numbers, and how its checks came out."""

    figures: dict[str, float]
    """By name. NaN: there was nothing to measure."""
    ok: bool
    checks: tuple[CheckOutcome, ...]
    """All thresholds and invariants in their order, and the other checks that did not pass."""
    stopped: str
    """Why the run ended early; "" if it did not."""
    growth: float
    """By how many jobs the backlog grew over the measured time: the slope of its least-squares line times that time."""
    level: float
    """Mean backlog over the measured time."""
    jobs: int
    seconds: float = field(compare=False, default=0.0)
    """Real seconds for which it was played."""
    engine: str = field(compare=False, default="")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Measured):
            return NotImplemented
        # as text: NaN is equal to NaN here
        return self.as_json(exact=True) == other.as_json(exact=True)

    __hash__ = None  # type: ignore[assignment]

    def as_json(self, *, exact: bool = False) -> str:
        """As JSON text that `from_json` reads. `exact`: without what differs between two plays of the same run."""
        plain = {name: getattr(self, name) for name in ("figures", "ok", "stopped", "growth", "level", "jobs")}
        plain["checks"] = [[getattr(check, name) for name in CheckOutcome.__slots__] for check in self.checks]
        if not exact:
            plain |= {"seconds": self.seconds, "engine": self.engine}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Measured:
        """What `as_json` wrote."""
        plain = json.loads(text)
        return cls(**{**plain, "checks": tuple(CheckOutcome(*check) for check in plain["checks"])})


def play(task: Task) -> Measured:
    """Play a task and measure it.

    Raises:
        KeyboardInterrupt: Ctrl-C. What `queuesim.run` raises otherwise.
    """
    result = result_of(task)
    if task.keep is not None:
        result.to_parquet(task.keep)
    return measured_of(result, task.measured)


def result_of(task: Task) -> Result:
    """Play a task and return the whole result. Raises what `play` raises."""
    scenario = scenario_of(task)
    options = {**task.playing.options, "seed": task.seed, "progress": False}
    result = _fast(scenario, options) if task.fast and task.playing.backend == "sim" else run(scenario, **options)
    stopped = result.facts.stopped
    if stopped is not None and stopped.reason is StopReason.INTERRUPTED:
        raise KeyboardInterrupt
    return result


def _fast(scenario: Scenario, options: Mapping[str, Any]) -> Result:
    """By the compiled engine, if it can play this."""
    try:
        return run(scenario, **options, engine="compiled")
    except UnplayableError:
        return run(scenario, **options, engine="virtual")


def measured_of(result: Result, names: Sequence[str]) -> Measured:
    """What a result comes to."""
    checks = result.checks
    shown = (checks["status"] != "passed") | checks["kind"].isin(["threshold", "invariant"])
    columns = ("check", "kind", "status", "value", "limit", "unit", "detail")
    rows = checks.loc[shown, list(columns)].astype(object).itertuples(index=False)
    growth, level = _growth(result)
    return Measured(
        figures={name: figure(result, name) for name in names},
        ok=result.ok,
        checks=tuple(
            CheckOutcome(str(name), str(kind), str(status), float(value), str(limit), str(unit or ""), str(detail))
            for name, kind, status, value, limit, unit, detail in rows
        ),
        stopped=str(result.facts.stopped or ""),
        growth=growth,
        level=level,
        jobs=len(result.jobs),
        seconds=result.facts.wall,
        engine=str(result.facts.engine),
    )


BINS = 50
"""Parts of the measured time over which the backlog's trend is fitted."""


def _growth(result: Result) -> tuple[float, float]:
    """The growth of the backlog over the measured time by its least-squares line, and its mean."""
    facts, level = result.facts, backlog(result)
    if not facts.duration > facts.warmup:
        return math.nan, math.nan
    edges = np.linspace(facts.warmup, facts.duration, BINS + 1)
    means = np.diff(level.area(edges)) / np.diff(edges)
    # in units of the measured time, from its middle
    times = (np.arange(BINS) + 0.5) / BINS - 0.5
    return float(times @ means / (times @ times)), float(means.mean())


# -- Making tasks


def check_sendable(tasks: Iterable[Task]) -> None:
    """Raise SendError if a task has an object that another process can't find."""
    # many tasks share one way of playing
    for playing in {id(task.playing): task.playing for task in tasks}.values():
        playing.check_sendable()


def scenario_to_play(source: Source, playing: Playing) -> Scenario:
    """The scenario of an experiment. Raises what `queuesim.run` raises."""
    return scenario_for(source, playing.processor, no_limit=playing.no_limit)


def tasks_of(
    scenario: Scenario,
    seeds: Iterable[int],
    measured: Iterable[str],
    playing: Playing | None = None,
    *,
    runs: float = 1,
    keep: str | Path | None = None,
) -> list[Task]:
    """A task for each seed of a scenario.

    Args:
        runs: how many runs like these one process will play, about.
        keep: directory to write each result to, below the number of its seed.
    """
    common: dict[str, Any] = {
        "scenario": document_of(scenario),
        "directory": str(scenario.directory),
        "files": files_of(scenario),
        "measured": tuple(measured),
        "playing": Playing() if playing is None else playing,
        "fast": fast(scenario, runs),
    }
    return [Task(**common, seed=seed, keep=None if keep is None else str(Path(keep) / str(seed))) for seed in seeds]


def seeds_of(seed: int, count: int) -> list[int]:
    """Seeds of independent runs, all from one: the first k are the same whatever the count.

    Source: numpy's SeedSequence.spawn, whose i-th child depends on the seed and i alone. Of each child 53 bits are
    taken, which a float and JSON hold exactly: among a million of them two are equal with a probability of 6e-5.
    """
    children = np.random.SeedSequence(seed).spawn(count)
    return [int(child.generate_state(1, np.uint64)[0]) >> 11 for child in children]
