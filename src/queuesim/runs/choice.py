"""Which engine plays a scenario in virtual time: the compiled one where it can and that pays, else the virtual loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from queuesim.core.processor import Processor
from queuesim.error import QueuesimError
from queuesim.results.engines import EngineKind, NotCompiled
from queuesim.results.recording import Recording
from queuesim.runs.compiled.reasons import UnplayableError, reasons
from queuesim.runs.engine import Progress
from queuesim.runs.invariants import InvariantMonitor
from queuesim.runs.judging import Abort, what_is_asked
from queuesim.runs.lives import Lives
from queuesim.runs.virtual.engine import record
from queuesim.scenario.model import Scenario
from queuesim.text import unknown

ENGINES = ("auto", *EngineKind)
"""What can be asked for."""
SMALL = 10_000
"""With fewer jobs than this, on average, the virtual loop is done while compiled code is still being loaded."""


class EngineError(QueuesimError):
    """There is no such engine."""


@dataclass(frozen=True, slots=True)
class VirtualRun:
    """A run in virtual time: what is played, and how."""

    scenario: Scenario
    backend: str
    seed: int
    own: Processor | None = None
    progress: Progress | None = None
    abort: Abort | None = None
    shuffle: bool = False
    handler_limit: float = 10.0
    allow_io: Sequence[str] = ()
    lives: Lives | None = None
    monitor: InvariantMonitor | None = None
    traced: bool = False
    """Whether something watches the awaits of handlers."""

    def play(self, engine: str = "auto") -> Recording:
        """Play by the engine that is asked for, or by the one that fits.

        Raises:
            UnplayableError: the compiled engine was asked for, and can't play it.
        """
        why = NotCompiled.ASKED if engine == EngineKind.VIRTUAL else self.why_not_compiled(small=engine == "auto")
        if why is None:
            try:
                return self._compiled()
            except UnplayableError as error:
                why = error.reason
        if engine == EngineKind.COMPILED:
            raise UnplayableError(why)
        recording = self._virtual()
        recording.facts.engine, recording.facts.not_compiled = EngineKind.VIRTUAL, why
        return recording

    def why_not_compiled(self, *, small: bool = True) -> NotCompiled | None:
        """Why the virtual loop is to play, as far as that is known before the run; None: the compiled one may try.

        Args:
            small: whether it matters that a run is small.
        """
        return next(self._reasons(small), None)

    def _reasons(self, small: bool) -> Iterator[NotCompiled]:
        if self.backend != "sim":
            yield NotCompiled.BACKEND
        if self.own is not None:
            yield NotCompiled.PROCESSOR
        if self.monitor is not None:
            yield NotCompiled.INVARIANTS
        if self.traced:
            yield NotCompiled.TRACER
        if self.shuffle:
            yield NotCompiled.ORDER
        yield from reasons(self.scenario)
        if small and expected_jobs(self.scenario) < SMALL:
            yield NotCompiled.SMALL
        if find_spec("numba") is None:
            yield NotCompiled.NO_NUMBA

    def _compiled(self) -> Recording:
        try:
            from queuesim.runs.compiled.engine import record as record_compiled
        except Exception as error:
            raise UnplayableError(NotCompiled.BROKEN_NUMBA) from error
        return record_compiled(self.scenario, self.seed, self.progress, allow_io=self.allow_io)

    def _virtual(self) -> Recording:
        return record(
            self.scenario,
            self.seed,
            self.own,
            self.progress,
            backend=self.backend,
            abort=self.abort,
            shuffle=self.shuffle,
            handler_limit=self.handler_limit,
            allow_io=self.allow_io,
            lives=self.lives,
            monitor=self.monitor,
        )


def expected_jobs(scenario: Scenario) -> float:
    """How many jobs the loads add, on average."""
    return sum(load.jobs for load in what_is_asked(scenario, scenario.duration).loads)


def check_engine(engine: str, backend: str) -> None:
    """Raise EngineError if there is no such engine, or none can be chosen."""
    if engine not in ENGINES:
        raise EngineError(unknown("engine", engine, ENGINES))
    if backend == "redis" and engine != "auto":
        raise EngineError("an engine can be chosen in virtual time only, and the backend redis is in real time")
