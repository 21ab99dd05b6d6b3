"""The compiled engine: a compiled loop plays scenarios without user code, and records what the virtual loop would."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import event
from numba.core.errors import NumbaError

from queuesim.core.job import JobOptions, JobState, Keep, Origin, OriginKind
from queuesim.oracles import judge
from queuesim.oracles.run_view import FinalState
from queuesim.results.engines import EngineKind, NotCompiled
from queuesim.results.recording import CheckRow, Facts, Recording, Stop, StopReason
from queuesim.runs.compiled import kernel
from queuesim.runs.compiled.plan import Plan
from queuesim.runs.compiled.reasons import UnplayableError
from queuesim.runs.engine import LOOKS, Progress, interruptible
from queuesim.runs.handlers import build_processor, job_options
from queuesim.runs.judging import MOST_LETTERS, promises
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import WorkerSettings, shared_limiter, slots_of
from queuesim.simulation.allowed_io import AllowedIO
from queuesim.simulation.random import Streams

logger = logging.getLogger("queuesim")

Array = npt.NDArray[Any]

STEPS = 1_000_000
"""Steps between two looks at the progress and at Ctrl-C: a fifth of a second."""
GIVEN_UP = {
    kernel.TOO_MANY_STEPS: NotCompiled.STEPS,
    kernel.TOO_MANY_ATTEMPTS: NotCompiled.ATTEMPTS,
    kernel.LONG_DRAIN: NotCompiled.LONG_DRAIN,
    kernel.STANDSTILL: NotCompiled.STANDSTILL,
    kernel.NO_TIMEOUT: NotCompiled.SHORT_WAIT,
    kernel.SHORT_WAIT: NotCompiled.SHORT_WAIT,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A worker's place, as `promises` looks at it."""

    name: str
    settings: WorkerSettings
    joined: float = 0.0


class CompiledRun:
    """Plays a scenario and records it.

    Raises:
        UnplayableError: the loop met something that it leaves to the virtual loop.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int,
        progress: Progress | None = None,
        allow_io: Sequence[str] = (),
    ) -> None:
        self.scenario = scenario
        self.stopped: Stop | None = None
        self._seed = seed
        self._progress = progress
        self._reported = -math.inf
        self._allowed = AllowedIO([*scenario.allow_io, *allow_io]).entries
        self._interrupted = False
        streams = Streams(seed)
        self._processor = build_processor(scenario, None, streams)
        self.plan = Plan(scenario, self._processor, job_options(scenario, None), streams)
        self._state = self.plan.state()
        self._rows = self.plan.rows()
        self._note_room()

    @property
    def time(self) -> float:
        """Virtual seconds since the run began."""
        return float(self._state.t[kernel.NOW])

    # -- playing

    def play(self) -> None:
        """Run from second 0 to the end."""
        kernel.begin(self._state, self.plan.rules, self._rows)
        why = kernel.PAUSED
        while why != kernel.DONE:
            self._report_progress()
            why = kernel.play(self._state, self.plan.rules, self._rows, STEPS)
            if why == kernel.MORE_DRAWS:
                self.plan.buffers.fill()
                self._state.n[kernel.REFILL] = 0
            elif why == kernel.MORE_ROOM:
                self._grow()
            elif why == kernel.GAVE_UP:
                raise UnplayableError(GIVEN_UP[int(self._state.n[kernel.BAIL])])
            if self._interrupted and why != kernel.DONE:
                self.stopped = Stop(StopReason.INTERRUPTED, self.time)
                return

    def interrupt(self) -> None:
        """End the run at its next look."""
        self._interrupted = True

    def _report_progress(self) -> None:
        if self._progress is not None and self.time >= self._reported + self.scenario.duration / LOOKS:
            self._reported = self.time
            self._progress(self.time, int(self._state.n[kernel.ENDINGS]))

    def _grow(self) -> None:
        """More room for what is recorded. The arrays grow where they are, if the system can do that."""
        for array in self._rows[1:]:
            array.resize(len(array) + len(array) // 2, refcheck=False)
        if len(self._state.owner):
            self._grow_jobs()
        self._note_room()

    def _grow_jobs(self) -> None:
        """More room for jobs, of which nobody knows how many come: those of closed models."""
        state, room = self._state, len(self._rows.jobs)
        more = room + room // 2
        tables = (state.ready_at, state.counts, state.state, state.links, state.delayed_due, state.delayed)
        for array in (self._rows.jobs, *tables, state.prioritized, state.owner):
            if len(array):
                array.resize((more, *array.shape[1:]), refcheck=False)
        state.owner[room:] = -1

    def _note_room(self) -> None:
        self._state.n[kernel.JOB_ROOM : kernel.WINDOW_ROOM + 1] = [len(array) for array in self._rows]

    # -- the record

    def recording(self, wall: float, version: str) -> Recording:
        """Everything that was recorded. Names are in the order of their first mention, as a recorder has them."""
        plan, n = self.plan, self._state.n
        kernel.note_unfinished(self._state, plan.rules, self._rows)
        jobs = self._rows.jobs[: n[kernel.JOBS]]
        attempts = self._rows.attempts[: n[kernel.ATTEMPTS]]
        self._kinds = renumber(jobs["name"], len(plan.types))
        loads = renumber(jobs["load"], len(plan.scenario.load))
        workers = renumber(attempts["worker"], len(plan.workers))
        errors = renumber(attempts["error"], len(plan.errors) + 1, first=0)
        attempts["message"] = attempts["error"]
        origins = [Origin(OriginKind.LOAD, plan.scenario.load[load].name) for load in loads]
        failing = [plan.errors[error - 1] for error in errors[1:]]
        return Recording(
            facts=self._facts(wall, version),
            jobs=jobs,
            attempts=attempts,
            events=self._rows.events[: n[kernel.EVENTS]],
            windows=self._rows.windows[: n[kernel.WINDOWS]],
            names=[plan.types[kind] for kind in self._kinds],
            loads=[str(origin) for origin in origins],
            origins=list(origins),
            workers=[plan.workers[worker][0] for worker in workers],
            errors=[("", "", False), *((e.info.type, e.info.category, e.info.retryable) for e in failing)],
            messages=["", *(each.message for each in failing)],
            bugs=["" for _ in range(len(failing) + 1)],
            left=self._left(),
        )

    def _facts(self, wall: float, version: str) -> Facts:
        scenario, processor = self.scenario, self._processor
        limiter = shared_limiter(scenario.workers, scenario.queue.rate_limit, processor.limiter)
        slots = slots_of(scenario.workers, processor.concurrency)
        return Facts(
            scenario=scenario.name,
            backend="sim",
            seed=self._seed,
            duration=self.time,
            asked=scenario.duration,
            warmup=scenario.warmup,
            epoch=scenario.epoch.timestamp(),
            workers=len(slots),
            concurrency=sum(slots.values()),
            slots=slots,
            limiter=None if limiter is None else (limiter.max, limiter.duration),
            stopped=self.stopped,
            allow_io=self._allowed,
            wall=wall,
            version=version,
            engine=EngineKind.COMPILED,
        )

    # -- what the queue itself says at the end

    @cached_property
    def _unfinished(self) -> dict[JobState, list[int]]:
        """The numbers of the jobs in each list, in its order."""
        state, n = self._state, self._state.n
        events = self._rows.events[: n[kernel.EVENTS]]
        starts = events["number"][events["kind"] == kernel.ACTIVE_EVENT]
        active = np.flatnonzero(state.state[: n[kernel.JOBS]] == kernel.IN_ACTIVE) + 1
        runs = np.zeros(n[kernel.JOBS] + 1, dtype=bool)
        runs[active] = True
        places = np.flatnonzero(runs[starts])
        last = dict(zip(starts[places].tolist(), places.tolist(), strict=True))
        count, delayed = n[kernel.PRIORITIZED], n[kernel.DELAYED]
        waiting, later = state.prioritized[:count], state.delayed[:delayed]
        by_priority = np.lexsort((waiting[:, kernel.PRIORITIZED_COUNTER], waiting[:, kernel.PRIORITIZED_KEY]))
        by_due = np.lexsort((later[:, kernel.DELAYED_ENTRY], state.delayed_due[:delayed]))
        return {
            JobState.WAITING: kernel.waiting(state).tolist(),
            JobState.PRIORITIZED: (waiting[by_priority, kernel.PRIORITIZED_JOB] + 1).tolist(),
            JobState.DELAYED: (later[by_due, kernel.DELAYED_JOB] + 1).tolist(),
            JobState.ACTIVE: sorted(active.tolist(), key=last.__getitem__),
        }

    def _left(self) -> dict[int, str]:
        return {number: state.value for state, numbers in self._unfinished.items() for number in numbers}

    def _finished(self, event: int, keep: Keep | None) -> Array:
        """The jobs of a finished state that are kept: the last ones by time, those of one instant by their ids."""
        events = self._rows.events[: self._state.n[kernel.EVENTS]]
        found = events[events["kind"] == event]
        numbers: Array = found["number"]
        times: Array = found["time"]
        if keep is not None and keep.count is not None:
            if keep.count == 0:
                return np.zeros(0, dtype=np.uint32)
            first = np.searchsorted(times, times[-keep.count]) if len(times) > keep.count else 0
            numbers, times = numbers[first:], times[first:]
        numbers = _by_text_where_equal(numbers, times)
        return numbers if keep is None or keep.count is None else numbers[max(len(numbers) - keep.count, 0) :]

    def _final_state(self) -> FinalState:
        processor = self._processor
        census: dict[str, Sequence[int] | Array] = {state.value: numbers for state, numbers in self._unfinished.items()}
        census[JobState.COMPLETED.value] = self._finished(kernel.COMPLETED_EVENT, processor.keep_completed)
        census[JobState.FAILED.value] = self._finished(kernel.FAILED_EVENT, processor.keep_failed)
        census = {state.value: census.get(state.value, []) for state in JobState}
        return FinalState(
            census=census,
            known=np.sort(np.concatenate([np.asarray(numbers, dtype=np.uint32) for numbers in census.values()])),
            dead_letters=self._letters(),
            terms=self._rows.jobs["name"][: self._state.n[kernel.JOBS]],
        )

    def _letters(self) -> dict[str, int] | None:
        if self._processor.dead_letters is None:
            return None
        events = self._rows.events[: self._state.n[kernel.EVENTS]]
        failed = events["number"][events["kind"] == kernel.FAILED_EVENT]
        return None if len(failed) > MOST_LETTERS else Counter(map(str, failed.tolist()))

    def judge(self, recording: Recording) -> list[CheckRow]:
        """What the oracles say of the run."""
        plan = self.plan
        slots = [Slot(name, settings) for name, settings in plan.workers]
        promised = promises(self.scenario, self._processor, slots, self._options())
        present = zip(plan.workers, self._state.moments[:, kernel.PRESENT].tolist(), strict=True)
        presence = [(name, since, math.inf) for (name, _), since in present if not math.isnan(since)]
        return judge(recording, replace(promised, presence=presence), self._final_state())

    def _options(self) -> list[JobOptions]:
        """Different options of jobs, in the order in which they were first added: those of the job types."""
        return [self.plan.options[kind] for kind in self._kinds]


def _by_text_where_equal(numbers: Array, times: Array) -> Array:
    """Jobs in the order of these ascending times; of those that finished at one instant the id decides, as text."""
    ordered = numbers.copy()
    same = np.concatenate(([False], times[1:] == times[:-1], [False]))
    begins, ends = np.flatnonzero(~same[:-1] & same[1:]), np.flatnonzero(same[:-1] & ~same[1:]) + 1
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        ordered[begin:end] = sorted(numbers[begin:end].tolist(), key=str)
    return ordered


def renumber(column: Array, count: int, first: int | None = None) -> list[int]:
    """Number what a column names anew, in the order of the first mention, in place. Returns the old numbers in order.

    Args:
        count: there are so many old numbers.
        first: which comes first in any case.
    """
    order = kernel.first_mentions(np.ascontiguousarray(column), count)
    old = [int(number) for number in order[order >= 0] if number != first]
    old = old if first is None else [first, *old]
    new = np.zeros(count, dtype=column.dtype)
    new[old] = np.arange(len(old))
    if old != list(range(len(old))):
        column[:] = new[column]
    return old


class _CompilationNotice(event.Listener):
    """Says once that numba compiles. What is in its cache on disk is loaded without that."""

    def __init__(self) -> None:
        self._told = False

    def on_start(self, event: event.Event) -> None:
        if not self._told:
            self._told = True
            logger.warning("compiling the engine for this machine, once: this takes about half a minute")

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


def record(
    scenario: Scenario,
    seed: int,
    progress: Progress | None = None,
    *,
    allow_io: Sequence[str] = (),
) -> Recording:
    """Play a scenario and return the bare recording: the oracles have judged, thresholds not yet.

    Raises:
        UnplayableError: the loop met something that it leaves to the virtual loop.
    """
    from queuesim import __version__

    began = time.perf_counter()
    try:
        with event.install_listener("numba:compile", _CompilationNotice()):
            run = CompiledRun(scenario, seed=seed, progress=progress, allow_io=allow_io)
            with interruptible(run.interrupt):
                run.play()
    except (NumbaError, OSError) as error:
        # it can't compile here, or not keep what it compiled
        raise UnplayableError(NotCompiled.BROKEN_NUMBA) from error
    recording = run.recording(time.perf_counter() - began, __version__)
    recording.checks.extend(run.judge(recording))
    return recording
