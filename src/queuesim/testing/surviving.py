"""assert_survives: a user's own handlers, under faults that are drawn until one brings them down."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any

from queuesim.core.processor import Processor
from queuesim.faults.registry import FAULTS
from queuesim.results.recording import Recording, StopReason
from queuesim.results.result import Result
from queuesim.runs.invariants import Given as Invariants
from queuesim.runs.invariants import Invariant, as_invariants
from queuesim.runs.lives import Lives
from queuesim.runs.run import GIVEN, run
from queuesim.runs.trace import Tracer
from queuesim.scenario.model import Scenario
from queuesim.scenario.processors import INSTALLED, ProcessorFactory, reference_of, title
from queuesim.scenario.processors import Source as ProcessorSource
from queuesim.testing.budget import SESSION, Budget, Session
from queuesim.testing.search import Account, Find, Search, Space, usual_kinds
from queuesim.testing.shrinking import Settings
from queuesim.testing.soak import DIRECTORY, replay_command, save
from queuesim.testing.story import CAUSES, first_difference, tell
from queuesim.text import listing, nearest
from queuesim.units import format_duration

HANDLERS = ("programming-errors", "real-io")
"""Health checks that only handlers make fail."""
EXAMPLES = 300
"""Examples that are played, at most, unless something else is asked for."""
TO_SHRINK = 30.0
"""Real seconds for which a find is made smaller, at most, beside what is left of the budget."""


class DidNotSurviveError(AssertionError):
    """A run failed. The text says how, tells the story of the jobs that show it, and how to play it again."""

    def __init__(self, text: str, path: Path, account: Account | None = None) -> None:
        super().__init__(text)
        self.path = path
        """The smallest scenario that still fails."""
        self.account = account
        """What the search had tried until then."""


def assert_survives(
    processor: ProcessorSource,
    jobs: dict[str, Any] | None = None,
    *,
    invariant: Invariants = None,
    shared: Callable[[], Any] | str | None = None,
    reference: str | None = None,
    duration: float = 60.0,
    faults: Sequence[str] | None = None,
    examples: int | None = None,
    budget: float | None = 60.0,
    thresholds: Sequence[str] = (),
    shuffle: bool = False,
    seed: int = 0,
    directory: Path = DIRECTORY,
    progress: Callable[[Account], None] = lambda account: None,
    **fixed: Any,
) -> Account:
    """Play drawn scenarios with your own handlers; all checks must hold in each.

    Args:
        processor: a function or class that makes the Processor, or ``module:attribute`` of one. It is made anew for
            each life of each worker: see `queuesim.scenario.processors.ProcessorFactory`. With a Processor in its place
            all examples, workers and restarts share that object.
        jobs: by type, what its jobs are like, as a scenario says it: ``{"mail": {"data": {...}}}``; every handler's
            type with no data if left out.
        invariant: what must hold of your own state: a function, `always`, `eventually` or `at_end` of one, several of
            them, or a mapping from names to them; see `queuesim.run`.
        shared: makes what outlives workers' processes, such as a store, once for each example.
        reference: the processor as ``module:attribute``, for the command that replays a failure.
        duration: seconds of load in each run, at most.
        faults: the kinds to draw from; all that a queue must survive if left out.
        examples: how many runs, at most; 300 if left out, or as many as the budget of the session allows, if it has one
            (pytest's option ``--queuesim-budget``).
        budget: real seconds for the search, at most; None: as long as the examples take. That of the session counts
            in its place.
        thresholds: what must hold beside the oracles.
        shuffle: run tasks that are ready at the same instant in random order in every example; some do if left out.
        seed: what all examples are drawn from.
        directory: where the smallest failing scenario is saved.
        progress: called after each example with what was tried and reached so far.
        fixed: keys of the scenario that are not to be drawn, as ``workers`` or ``load``.

    Returns:
        What was tried and reached.

    Raises:
        DidNotSurviveError: a run failed. It was made small, and is saved.
        ValueError: a budget, a number of examples or a duration is not above 0; there is no such kind of faults; the
            processor has no handlers.
        TypeError: there is no such argument, and scenarios have no such key.
        pydantic.ValidationError: keys in `fixed` do not make a scenario.
    """
    __tracebackhide__ = True  # pytest shows the user's lines alone
    session = SESSION.get() or Session()
    budget = budget if session.budget is None else session.budget
    for name, value in (("examples", examples), ("budget", budget), ("duration", duration)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}: the search could play nothing")
    _check_names(fixed, faults or ())
    factory = ProcessorFactory(processor, shared)
    invariants = as_invariants(invariant)
    keys = {"processor": reference or factory.reference or GIVEN, **({"order": "random"} if shuffle else {}), **fixed}
    if find_spec("time_machine") is not None:
        keys = {"calendar": True, **keys}
    if thresholds:
        keys["thresholds"] = list(thresholds)
    types = jobs or {name: {} for name in Lives(factory).prototype.types}
    if not types:
        raise ValueError(f"the processor of {factory.name} has no handlers: there is no job to play")

    def play(example: Settings, tracer: Tracer, progress: Callable[[float, int], None]) -> Recording:
        run(
            example,
            processor=factory,
            invariants=invariants,
            progress=progress,
            tracer=tracer,
            handler_limit=10.0 if budget is None else min(10.0, budget),
        )
        assert tracer.recording is not None
        return tracer.recording

    space = Space(types, duration, usual_kinds() if faults is None else list(faults), keys)
    search, limit = Search(space, play, problems, seed), Budget(budget)
    find = search.run(examples or (EXAMPLES if session.budget is None else sys.maxsize), limit, progress)
    session.accounts.append(search.account)
    if find is None:
        return search.account
    left = Budget(TO_SHRINK if math.isinf(limit.left) else max(TO_SHRINK / 2, min(limit.left, TO_SHRINK)))
    find = search.shrink(find, left)
    named, unnamed = _named(reference or factory.reference, factory, invariants)
    # without all of them nobody but their owner can play it
    path = save({**find.example, **(named or {"processor": reference or GIVEN})}, directory)
    replay = _replay(path, processor, named, unnamed)
    raise DidNotSurviveError(_explained(search, find, f"scenario: {path}\nreplay: {replay}"), path, search.account)


def _check_names(keys: Iterable[str], kinds: Iterable[str]) -> None:
    """Refuse arguments that are no keys of scenarios, and kinds of faults that there are not."""
    for key in keys:
        if key not in Scenario.model_fields:
            known = [*Scenario.model_fields, *inspect.signature(assert_survives).parameters]
            raise TypeError(
                f'"{key}" is neither an argument of assert_survives nor a key of a scenario{nearest(key, known)}'
            )
    for kind in kinds:
        if kind not in FAULTS:
            hint = nearest(kind, FAULTS) or ";"
            raise ValueError(f'there is no kind of faults "{kind}"{hint} all kinds: {listing(sorted(FAULTS))}')


def _explained(search: Search, find: Find, last: str) -> str:
    """What is wrong, the story of a run that shows it, and how it was found."""
    (one, tracer), (other, _) = (search.play(find.example, Budget(None)) for _ in range(2))
    result = Result(one)
    parts = failures(result, only=problems(one))
    parts = parts or [f"failed in the search, and not when it was played again: {', '.join(find.problems)}"]
    if difference := first_difference(one, other):
        parts += [f"NOT DETERMINISTIC: two runs of this scenario differ in {difference}.", f"Likely causes: {CAUSES}."]
    elif not problems(one):
        parts += ["NOT DETERMINISTIC: two further runs are the same, and hold."]
        parts += [f"Likely causes: {CAUSES}."]
    parts += ["what happened:", *tell(tracer), *circumstances(result)]
    parts += [f"found by example {find.number}, after {format_duration(round(find.seconds, 1))}", last]
    return "\n".join(parts)


def _replay(path: Path, processor: ProcessorSource, named: Mapping[str, Any], unnamed: Sequence[str]) -> str:
    """The command that plays it again, or what to do in its place."""
    if named:
        return _python_path(named["processor"]) + replay_command(path)
    if isinstance(processor, Processor):
        return replay_command(path, processor="MODULE:ATTRIBUTE")
    return (
        f"queuesim.run({path.as_posix()!r}, processor=..., shared=..., invariants=...); to get one command, define at "
        f"the top of a module: {', '.join(unnamed)}"
    )


def _python_path(reference: str) -> str:
    """What a command needs to find the user's module, where that is neither here nor in a directory that Python knows:
    pytest makes modules of tests known by their names alone."""
    name = reference.partition(":")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not INSTALLED.isdisjoint(Path(file).parts):
        return ""
    directory = Path(file).parents[name.count(".") + (Path(file).name == "__init__.py")]
    if directory == Path.cwd():
        return ""
    shortest = directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
    return f"PYTHONPATH={quote(shortest.as_posix())} "


def _named(
    processor: str | None, factory: ProcessorFactory, invariants: Sequence[Invariant]
) -> tuple[dict[str, Any], list[str]]:
    """What a scenario file needs to name the user's own functions, nothing if not all of them can be named; and what
    can't be."""
    shared = None if factory.shared is None else reference_of(factory.shared)
    named = [(one.when.value, one.reference) for one in invariants]
    unnamed = [] if processor else [f"the processor, {factory.name}"]
    unnamed += [] if shared or factory.shared is None else [f"what is shared, {title(factory.shared)}"]
    unnamed += [f"the invariant {one.title!r}" for one in invariants if one.reference is None]
    if unnamed:
        return {}, unnamed
    keys: dict[str, Any] = {"processor": processor, "shared": shared}
    keys["invariants"] = [{when: reference} for when, reference in named]
    return {key: value for key, value in keys.items() if value}, []


def problems(recording: Recording) -> list[str]:
    """What a drawn run shows of faults of the handlers, by the names of checks.

    A drawn run may be too short, or its faults too hard, for jobs to start and to complete. So the health checks count
    that faults can't make fail, and with them the one of failed jobs where no fault struck.
    """
    counting = {*HANDLERS, *([] if recording.faults else ["everything-failed"])}
    failed = [row.name for row in recording.checks if not row.ok and (row.kind != "health" or row.name in counting)]
    stopped = recording.facts.stopped
    return [*failed, "stuck"] if stopped is not None and stopped.stuck else failed


def explain(result: Result) -> str:
    """Why a run is not ok: the checks that failed or were not judged, and the top errors, a line each."""
    return "\n".join([*failures(result), *circumstances(result)])


def failures(result: Result, only: Collection[str] | None = None) -> list[str]:
    """The checks that failed, of these names or all if they are left out, and why the run ended early if no invariant
    says it; a line each."""
    from queuesim.results.views.digest import checks

    failed = [line.text for line in checks(result) if line.status == "failed" and (only is None or line.name in only)]
    stopped = result.facts.stopped
    if stopped is not None and not (failed and stopped.reason is StopReason.INVARIANT):
        failed.append(f"stopped early: {stopped}")
    return failed


def circumstances(result: Result) -> list[str]:
    """The run in one line, the checks that were not judged, and the top errors, a line each."""
    from queuesim.results.views.digest import checks, error_lines

    unjudged = [line.text for line in checks(result) if line.status == "not judged"]
    return [repr(result), *unjudged, *error_lines(result)]
