"""assert_survives: a user's own handlers, under faults that are drawn until one brings them down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queuesim.core.processor import Processor
from queuesim.extras import need
from queuesim.runs.invariants import Given as Invariants
from queuesim.runs.invariants import Invariant, as_invariants
from queuesim.runs.lives import Lives
from queuesim.scenario.processors import ProcessorFactory, reference_of
from queuesim.scenario.processors import Source as ProcessorSource
from queuesim.testing.soak import DIRECTORY, replay_command, save

if TYPE_CHECKING:
    from queuesim.results.result import Result


HANDLERS = ("programming-errors", "real-io")
"""Health checks that only handlers make fail."""


class DidNotSurviveError(AssertionError):
    """A run failed. The text says how, and how to play it again."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self.path = path
        """The smallest scenario that still fails."""


def assert_survives(
    processor: ProcessorSource,
    jobs: dict[str, Any] | None = None,
    *,
    invariant: Invariants = None,
    shared: Callable[[], Any] | str | None = None,
    reference: str | None = None,
    duration: float = 60.0,
    faults: Sequence[str] | None = None,
    examples: int = 50,
    thresholds: Sequence[str] = (),
    shuffle: bool = False,
    directory: Path = DIRECTORY,
    **fixed: Any,
) -> None:
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
        duration: seconds of load in each run.
        faults: the kinds to draw from; all that a queue must survive if left out.
        examples: how many runs.
        thresholds: what must hold beside the oracles.
        shuffle: also draw the order in which tasks that are ready run, to look for races.
        directory: where the smallest failing scenario is saved.
        fixed: keys of the scenario that are not to be drawn, as ``workers`` or ``load``.

    Raises:
        DidNotSurviveError: a run failed. Hypothesis has made it small, and it is saved.
    """
    need("hypothesis", "test", "drawn scenarios")
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis.errors import NoSuchExample

    from queuesim.runs.run import GIVEN, run
    from queuesim.testing.strategies import scenarios

    factory = ProcessorFactory(processor, shared)
    types = jobs or {name: {} for name in Lives(factory).prototype.types}
    reference = reference or factory.reference
    drawn = scenarios(
        duration,
        jobs=types,
        kinds=faults,
        processor=reference or GIVEN,
        thresholds=list(thresholds),
        **fixed,
    )

    def play(scenario: dict[str, Any]) -> Result:
        return run(scenario, processor=processor, shared=shared, invariants=invariant, shuffle=shuffle)

    def fails(scenario: dict[str, Any]) -> bool:
        return brought_down(play(scenario))

    rules = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        smallest = find(drawn, fails, settings=rules)
    except NoSuchExample:
        return
    result = play(smallest)
    own = _named(factory, as_invariants(invariant))
    path = save({**smallest, **own}, directory)
    if "processor" in own or reference:
        replay = replay_command(path, shuffle=shuffle)
    elif isinstance(processor, Processor):
        replay = replay_command(path, processor="MODULE:ATTRIBUTE", shuffle=shuffle)
    else:
        order = ", shuffle=True" if shuffle else ""
        replay = (
            f"queuesim.run({path.as_posix()!r}, processor=..., shared=..., invariants=...{order}), or one command if "
            "these are functions at the top of a module"
        )
    raise DidNotSurviveError(f"{explain(result)}\nscenario: {path}\nreplay: {replay}", path)


def _named(factory: ProcessorFactory, invariants: Sequence[Invariant]) -> dict[str, Any]:
    """What a scenario file needs to name the user's own functions; nothing if not all of them can be named."""
    shared = None if factory.shared is None else reference_of(factory.shared)
    named = {one.reference: one.when.value for one in invariants}
    if factory.reference is None or (factory.shared is not None and shared is None) or None in named:
        return {}
    keys: dict[str, Any] = {"processor": factory.reference, "shared": shared}
    keys |= {"invariants": [{when: reference} for reference, when in named.items()]}
    return {key: value for key, value in keys.items() if value}


def brought_down(result: Result) -> bool:
    """Whether a drawn run shows a fault of the handlers.

    A drawn run may be too short, or its faults too hard, for jobs to start and to complete. So the health checks count
    that faults can't make fail, and with them the one of failed jobs where no fault struck.
    """
    checks = result.checks
    counting = {*HANDLERS, *([] if len(result.faults) else ["everything-failed"])}
    excused = (checks["kind"] == "health") & ~checks["check"].isin(counting)
    stopped = result.facts.stopped
    return bool((~checks["ok"] & ~excused).any()) or (stopped is not None and stopped.stuck)


def explain(result: Result) -> str:
    """Why a run is not ok: the checks that failed or were not judged, and the top errors, a line each."""
    from queuesim.results.views.digest import checks, error_lines

    lines = [line.text for line in checks(result) if line.status != "passed"]
    stopped = [f"stopped early: {result.facts.stopped}"] if result.facts.stopped else []
    return "\n".join([repr(result), *stopped, *lines, *error_lines(result)])
