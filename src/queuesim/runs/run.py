"""Running a scenario: from a file or a notebook to a Result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from queuesim.results.health import judge_health
from queuesim.results.views.progress import run_bar
from queuesim.runs.choice import VirtualRun, check_engine
from queuesim.runs.effort import refuse_too_large, size_checks
from queuesim.runs.engine import Progress
from queuesim.runs.handler_state import warn_of_leftovers, watched
from queuesim.runs.invariants import Given as Invariants
from queuesim.runs.invariants import InvariantMonitor, When, as_invariants, load_invariants
from queuesim.runs.judging import Abort, what_is_asked
from queuesim.runs.lives import Lives
from queuesim.runs.trace import Tracer
from queuesim.scenario.loading import Source, as_document, as_scenario
from queuesim.scenario.model import BackendError, Scenario, check_backend
from queuesim.scenario.processors import ProcessorFactory
from queuesim.scenario.processors import Source as ProcessorSource

if TYPE_CHECKING:
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
    processor: ProcessorSource | ProcessorFactory | None = None,
    shared: Callable[[], Any] | str | None = None,
    invariants: Invariants = None,
    progress: Progress | bool | None = None,
    shuffle: bool = False,
    handler_limit: float = 10.0,
    allow_io: Sequence[str] = (),
    no_limit: bool = False,
    tracer: Tracer | None = None,
    engine: str = "auto",
) -> Result:
    """Play a scenario and return what happened.

    It may be called from a notebook's cell: a loop that runs there stands still meanwhile. Ctrl-C ends the run early,
    and what was simulated until then is the result.

    A processor that is named (``module:attribute``), or made by a function, is made anew for each life of each worker,
    as a process starts with an empty memory. One that is given as an object is the same in every run and worker: if
    its handlers changed globals, closures, default arguments or attributes in an earlier run in virtual time, a
    HandlerStateWarning names them.

    Args:
        scenario: a Scenario, a mapping with its keys, or the path of a file.
        backend: "sim" (virtual time, the queue in memory), "fakeredis" (virtual time, our Lua scripts) or "redis" (real
            time, a real server, workers in processes of their own).
        redis_url: for the backend "redis", the server: ``redis://host:port``, or ``embedded`` for a private one. None:
            what the environment says (REDIS_URL, or REDIS_HOST and REDIS_PORT), or else a private one.
        seed: in place of the scenario's.
        processor: in place of the one that the scenario names; a mapping need not name one then. A Processor, or a
            function, class or ``module:attribute`` that makes one anew for each life of each worker: see
            `queuesim.scenario.processors.ProcessorFactory`.
        shared: makes what outlives workers' processes, such as a store, once for each run; in place of the scenario's.
            The function that makes the processor gets it, and so do the invariants.
        invariants: functions of your own that say whether all is well, with what is shared and the run so far as their
            arguments, as far as they have some; at the end, or as `always` and `eventually` say. They come
            beside those of the scenario.
        progress: called now and then with the seconds simulated and the jobs finished; True for a bar, False
            for none; None for one in a notebook only.
        shuffle: run tasks that are ready at the same instant in an order drawn from the seed, to look for races.
        handler_limit: real seconds for which one handler may hold the event loop before it is interrupted.
        allow_io: what handlers may reach outside of the process in virtual time, beside what the scenario allows:
            "localhost:5432", "*.example.org", "unix:/path", "process:program", or "*" for everything.
        engine: what plays in virtual time: "virtual", the loop that runs handlers; "compiled", a compiled loop for
            scenarios without user code, which gives the same result (needs the extra ``fast``); "auto": the compiled
            one where it can play the scenario and that is faster. The result's facts say which it was, and why.
        tracer: notes each await of the handlers, in virtual time.
        no_limit: also play what takes more than a day, or more than 64 GB of memory.

    Raises:
        ScenarioError: the file is wrong.
        pydantic.ValidationError: the mapping is wrong.
        TooLargeError: it would play for more than a day, or need more than 64 GB of memory, at least.
        ProcessorImportError: the scenario's processor can't be imported.
        FactoryError: what makes the processor, or what is shared, is wrong.
        InvariantError: an invariant failed by itself.
        ValueError: an entry of `allow_io` is wrong.
        EngineError: there is no such engine.
        UnplayableError: the compiled engine was asked for, and can't play this scenario.
        BackendError: there is no such backend, or it can't play this scenario.
        BrokerUnavailableError, AddressError: the server can't be used.
        MissingExtraError: what the backend needs is not installed.
    """
    check_backend(backend)
    check_engine(engine, backend)
    chosen = scenario_for(scenario, processor, no_limit=no_limit)
    live = backend == "redis"
    named = {"processor": processor, "shared": shared}
    chosen = chosen.model_copy(update={key: value for key, value in named.items() if isinstance(value, str)})
    lives = _lives(chosen, processor, shared)
    own = None if lives is None else lives.prototype
    if own is not None and tracer is not None:
        own = tracer.wrap(own)
    monitor = _monitor(chosen, lives, invariants, backend)
    if not no_limit:
        refuse_too_large(chosen, own, live=live)
    seed = chosen.seed if seed is None else seed
    abort = Abort.of(chosen)
    with run_bar(chosen.duration, chosen.name, progress) as tell:
        if live:
            from queuesim.runs.live.engine import record as record_live

            in_processes = processor is None or isinstance(processor, str)
            recording = record_live(chosen, redis_url, seed, None if in_processes else own, tell, abort)
        else:
            kept = None if lives is None or lives.several else lives.prototype
            if kept is not None:
                warn_of_leftovers(kept, stacklevel=2)
            options: dict[str, Any] = {"shuffle": shuffle, "handler_limit": handler_limit, "allow_io": allow_io}
            options |= {"lives": lives, "monitor": monitor, "traced": tracer is not None}
            with nullcontext() if kept is None else watched(kept):
                recording = VirtualRun(chosen, backend, seed, own, tell, abort, **options).play(engine)
    if tracer is not None:
        tracer.recording = recording
    return _judged(chosen, recording, abort, monitor)


def scenario_for(
    source: Source, processor: ProcessorSource | ProcessorFactory | None, *, no_limit: bool = False
) -> Scenario:
    """The scenario; a mapping that is played with a processor that is at hand need not name one. Raises as `run`."""
    if processor is not None and isinstance(source, Mapping):
        source = {"processor": GIVEN, **source}
    return as_scenario(source, checks=size_checks(no_limit))


def _lives(
    scenario: Scenario, processor: ProcessorSource | ProcessorFactory | None, shared: Callable[[], Any] | str | None
) -> Lives | None:
    """What makes the user's processors; None if the scenario describes all that its handlers do."""
    if isinstance(processor, ProcessorFactory):
        return Lives(processor)
    source = scenario.processor if processor is None else processor
    if source is None:
        return None
    return Lives(ProcessorFactory(source, scenario.shared if shared is None else shared, scenario.directory))


def _monitor(scenario: Scenario, lives: Lives | None, given: Invariants, backend: str) -> InvariantMonitor | None:
    """What asks the invariants of the scenario, those that are given, and one that was made with the processor."""
    invariants = [*load_invariants(scenario.invariants, scenario.directory), *as_invariants(given)]
    if lives is not None and lives.check is not None:
        invariants += as_invariants(lives.check)
    if backend == "redis" and any(one.when is not When.AT_END for one in invariants):
        raise BackendError("on the backend redis an invariant can only be asked at the end: write at_end")
    return InvariantMonitor(invariants, None if lives is None else lives.shared) if invariants else None


def _judged(scenario: Scenario, recording: Recording, abort: Abort | None, monitor: InvariantMonitor | None) -> Result:
    """The result of a run, with its thresholds, invariants and health checks before what the oracles said."""
    from queuesim.results.little import check as littles_law
    from queuesim.results.result import Result

    recording.facts.definition = as_document(scenario)
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
    invariants = [] if monitor is None else monitor.checks(result)
    # the frame of checks, alone of all, is not built yet
    recording.checks[:0] = [*rows, *invariants, *judge_health(recording, asked)]
    recording.late_checks.append(littles_law)
    return result
