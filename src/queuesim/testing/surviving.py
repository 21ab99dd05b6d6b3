"""assert_survives: a user's own handlers, under faults that are drawn until one brings them down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queuesim.extras import need
from queuesim.testing.soak import DIRECTORY, replay_command, save

if TYPE_CHECKING:
    from queuesim.core.processor import Processor
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
    processor: Processor,
    jobs: dict[str, Any] | None = None,
    *,
    reference: str | None = None,
    duration: float = 60.0,
    faults: Sequence[str] | None = None,
    examples: int = 50,
    thresholds: Sequence[str] = (),
    shuffle: bool = False,
    directory: Path = DIRECTORY,
    **fixed: Any,
) -> None:
    """Play drawn scenarios with a processor's own handlers; all checks must hold in each.

    Args:
        jobs: by type, what its jobs are like, as a scenario says it: ``{"mail": {"data": {...}}}``; every handler's
            type with no data if left out.
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

    types = jobs or {name: {} for name in processor.types}
    drawn = scenarios(
        duration,
        jobs=types,
        kinds=faults,
        processor=reference or GIVEN,
        thresholds=list(thresholds),
        **fixed,
    )

    def fails(scenario: dict[str, Any]) -> bool:
        return brought_down(run(scenario, processor=processor, shuffle=shuffle))

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
    result = run(smallest, processor=processor, shuffle=shuffle)
    path = save(smallest, directory)
    command = replay_command(path, processor=None if reference else "MODULE:ATTRIBUTE", shuffle=shuffle)
    raise DidNotSurviveError(f"{explain(result)}\nscenario: {path}\nreplay: {command}", path)


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
