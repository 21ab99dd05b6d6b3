"""Running a scenario: from a file or a notebook to a Result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from queuesim.results.health import judge_health
from queuesim.results.views.progress import run_bar
from queuesim.runs.effort import refuse_too_large, size_checks
from queuesim.runs.engine import Progress
from queuesim.runs.handler_state import warn_of_leftovers, watched
from queuesim.runs.judging import Abort, what_is_asked
from queuesim.runs.virtual.engine import record
from queuesim.scenario.loading import Source, as_scenario, processor_of
from queuesim.scenario.model import Scenario, check_backend

if TYPE_CHECKING:
    from queuesim.core.processor import Processor
    from queuesim.results.recording import Recording
    from queuesim.results.result import Result


GIVEN = "given:processor"
"""What a scenario names in place of a processor that is at hand: with a processor no job needs a service time."""


def run(
    scenario: Source,
    backend: str = "sim",
    *,
    redis_url: str | None = None,
    seed: int | None = None,
    processor: Processor | None = None,
    progress: Progress | bool | None = None,
    shuffle: bool = False,
    handler_limit: float = 10.0,
    allow_io: Sequence[str] = (),
    no_limit: bool = False,
) -> Result:
    """Play a scenario and return what happened.

    It may be called from a notebook's cell: a loop that runs there stands still meanwhile. Ctrl-C ends the run early,
    and what was simulated until then is the result.

    A processor that the scenario names (``module:attribute``) is loaded afresh for every run. One that is given as an
    object, or whose module was imported elsewhere, is the same object in every run: if its handlers changed globals,
    closures, default arguments or attributes in an earlier run in virtual time, a HandlerStateWarning names them.

    Args:
        scenario: a Scenario, a mapping with its keys, or the path of a file.
        backend: "sim" (virtual time, the queue in memory), "fakeredis" (virtual time, our Lua scripts) or "redis" (real
            time, a real server, workers in processes of their own).
        redis_url: for the backend "redis", the server: ``redis://host:port``, or ``embedded`` for a private one. None:
            what the environment says (REDIS_URL, or REDIS_HOST and REDIS_PORT), or else a private one.
        seed: in place of the scenario's.
        processor: in place of the one that the scenario names; a mapping need not name one then.
        progress: called now and then with the seconds simulated and the jobs finished; True for a bar, False
            for none; None for one in a notebook only.
        shuffle: run tasks that are ready at the same instant in an order drawn from the seed, to look for races.
        handler_limit: real seconds for which one handler may hold the event loop before it is interrupted.
        allow_io: what handlers may reach outside of the process in virtual time, beside what the scenario allows:
            "localhost:5432", "*.example.org", "unix:/path", "process:program", or "*" for everything.
        no_limit: also play what takes more than a day, or more than 64 GB of memory.

    Raises:
        ScenarioError: the file is wrong.
        pydantic.ValidationError: the mapping is wrong.
        TooLargeError: it would play for more than a day, or need more than 64 GB of memory, at least.
        ProcessorImportError: the scenario's processor can't be imported.
        ValueError: an entry of `allow_io` is wrong.
        BackendError: there is no such backend, or it can't play this scenario.
        BrokerUnavailableError, AddressError: the server can't be used.
        MissingExtraError: what the backend needs is not installed.
    """
    check_backend(backend)
    if processor is not None and isinstance(scenario, Mapping):
        scenario = {"processor": GIVEN, **scenario}
    chosen = as_scenario(scenario, checks=size_checks(no_limit))
    live = backend == "redis"
    if not no_limit:
        refuse_too_large(chosen, processor, live=live)
    seed = chosen.seed if seed is None else seed
    abort = Abort.of(chosen)
    with run_bar(chosen.duration, chosen.name, progress) as tell:
        if live:
            from queuesim.runs.live.engine import record as record_live

            recording = record_live(chosen, redis_url, seed, processor, tell, abort)
        else:
            own = processor or processor_of(chosen, for_run=True)
            if own is not None:
                warn_of_leftovers(own, stacklevel=2)
            options: dict[str, Any] = {"shuffle": shuffle, "handler_limit": handler_limit, "allow_io": allow_io}
            with nullcontext() if own is None else watched(own):
                recording = record(chosen, seed, own, tell, backend=backend, abort=abort, **options)
    return _judged(chosen, recording, abort)


def _judged(scenario: Scenario, recording: Recording, abort: Abort | None) -> Result:
    """The result of a run, with its thresholds and health checks before what the oracles said."""
    from queuesim.results.little import check as littles_law
    from queuesim.results.result import Result

    result = Result(recording)
    live = recording.facts.backend == "redis"
    rows = []
    if scenario.thresholds:
        from queuesim.runs.judging import judge

        rows = judge(result, scenario.thresholds)
        if abort is not None:
            # what failed after the last look counts, too
            abort.look_at(result)
            abort.mark(rows)
            if live:
                stopped = abort.confirm(recording.facts.stopped)
                result.facts = recording.facts = replace(recording.facts, stopped=stopped)
    asked = what_is_asked(scenario, recording.facts.duration, real_io=live)
    # the frame of checks, alone of all, is not built yet
    recording.checks[:0] = [*rows, *judge_health(recording, asked)]
    recording.late_checks.append(littles_law)
    return result
