"""Invariants: what a user says must hold of their own state, asked while a run goes on and at its end."""

from __future__ import annotations

import math
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from queuesim.core.broker import Completed, Failed, Outcome
from queuesim.core.job import Job
from queuesim.core.worker import WorkerObserver
from queuesim.error import QueuesimError
from queuesim.results.recording import CheckRow
from queuesim.scenario.processors import load_reference, positional, reference_of, title
from queuesim.simulation.io_guard import outside
from queuesim.text import shown

if TYPE_CHECKING:
    from queuesim.results.result import Result

KIND = "invariant"
"""What checks of invariants are called."""
SHOWN = 3
"""Messages of a violation that are shown."""

Check = Callable[..., Any]
Effects = Iterable[Any] | Mapping[Any, int]


class InvariantError(QueuesimError):
    """An invariant can't be asked: it raised an error of its own, or returned what means nothing."""


class When(StrEnum):
    """When an invariant is asked."""

    ALWAYS = "always"
    EVENTUALLY = "eventually"
    AT_END = "at_end"


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must hold, and when."""

    check: Check
    when: When = When.AT_END
    name: str = ""

    @property
    def title(self) -> str:
        """Its name in reports: the user's words, if there are some."""
        words = (getattr(self.check, "__doc__", None) or "").strip().partition("\n")[0].rstrip(".")
        own = title(self.check).rpartition(".")[2].replace("_", " ").strip()
        return shown(self.name or words or ("invariant" if own.startswith("<") else own))

    @property
    def reference(self) -> str | None:
        """``module:attribute`` of its function, or of itself; None if another process can't find it."""
        return reference_of(self.check) or next(self._holders(), None)

    def _holders(self) -> Iterator[str]:
        """Where it is a global of a module, as one that `at_most_once` makes, whose function has no name there."""
        for name, module in list(sys.modules.items()):
            if name != "__main__":
                for attribute, value in list(getattr(module, "__dict__", {}).items()):
                    if type(value) is Invariant and value.check is self.check:
                        yield f"{name}:{attribute}"


def always(check: Check, name: str = "") -> Invariant:
    """An invariant that must hold after each attempt. `name` is what reports call it."""
    return Invariant(check, When.ALWAYS, name)


def eventually(check: Check, name: str = "") -> Invariant:
    """An invariant that must hold at least once, after an attempt or at the end. `name` is what reports call it."""
    return Invariant(check, When.EVENTUALLY, name)


def at_end(check: Check, name: str = "") -> Invariant:
    """An invariant that must hold when the run is over. `name` is what reports call it."""
    return Invariant(check, When.AT_END, name)


Given = Invariant | Check | Sequence[Invariant | Check] | Mapping[str, Invariant | Check] | None
"""What stands for invariants: one or several, a function alone for one at the end, or a mapping from names to them."""


def as_invariants(given: Given) -> list[Invariant]:
    """The invariants in whatever stands for them.

    Raises:
        TypeError: it is something else.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [_named(one, name) for name, one in given.items()]
    if isinstance(given, Invariant) or callable(given):
        return [_named(given)]
    return [_named(one) for one in given]


def _named(given: Invariant | Check, name: str = "") -> Invariant:
    if isinstance(given, Invariant):
        return Invariant(given.check, given.when, name or given.name)
    if not callable(given):
        raise TypeError(f"an invariant is a function, or always(...), eventually(...) or at_end(...), not {given!r}")
    return Invariant(given, name=name)


def load_invariants(entries: Iterable[Any], directory: Path) -> list[Invariant]:
    """The invariants that a scenario names (`InvariantEntry`).

    Raises:
        ProcessorImportError: a function can't be imported.
        TypeError: it can't be called.
    """
    found = []
    for entry in entries:
        given = load_reference(entry.reference, directory)
        found.append(
            Invariant(given.check, given.when, given.name)
            if isinstance(given, Invariant)
            else Invariant(_named(given).check, When(entry.when))
        )
    return found


# -- The usual ones


def at_most_once(effects: Callable[[Any], Effects], name: str = "each effect happens at most once") -> Invariant:
    """An invariant that holds as long as no effect happened twice.

    Args:
        effects: from what is shared to the keys of all effects so far, a key each time; or to a mapping from keys to
            how often.
    """

    def check(shared: Any) -> list[str]:
        return [f"{key}: {count} times" for key, count in Counter(effects(shared)).items() if count > 1]

    return always(check, name)


def exactly_once(effects: Callable[[Any], Effects], name: str = "each job takes effect exactly once") -> Invariant:
    """An invariant that holds if at the end every completed job took effect once, and no job more often.

    Args:
        effects: as of `at_most_once`; the keys are ids of jobs.
    """

    def check(shared: Any, run: RunSoFar) -> list[str]:
        counts = Counter(effects(shared))
        none = [f"job {job} completed without effect" for job in run.completed if not counts[job]]
        return none + [f"job {job}: {count} times" for job, count in counts.items() if count > 1]

    return at_end(check, name)


def done_if_completed(
    done: Callable[[Any], Iterable[str]], name: str = "no job completes whose work is not done"
) -> Invariant:
    """An invariant that holds as long as the work of every completed job is done.

    Args:
        done: from what is shared to the ids of the jobs whose work is done.
    """

    def check(shared: Any, run: RunSoFar) -> list[str]:
        finished = set(done(shared))
        return [f"job {job} completed, and its work is not done" for job in run.completed if job not in finished]

    return always(check, name)


def conserved(total: Callable[[Any], float], amount: float, name: str = "the sum stays the same") -> Invariant:
    """An invariant that holds as long as a sum over what is shared is `amount`."""

    def check(shared: Any) -> str:
        found = total(shared)
        return "" if math.isclose(found, amount, abs_tol=1e-9) else f"it is {found:g}, not {amount:g}"

    return always(check, name)


def in_order(log: Callable[[Any], Iterable[tuple[Any, Any]]], name: str = "each key is handled in order") -> Invariant:
    """An invariant that holds as long as the values of each key ascend.

    Args:
        log: from what is shared to all (key, value) so far, in the order in which they took effect.
    """

    def check(shared: Any) -> list[str]:
        last: dict[Any, Any] = {}
        found = []
        for key, value in log(shared):
            if key in last and value < last[key]:
                found.append(f"{key}: {value} after {last[key]}")
            last[key] = value
        return found

    return always(check, name)


# -- Asking them


class RunSoFar:
    """A run as an invariant sees it. When the run is over it also has all that a Result has: ``run.jobs``."""

    def __init__(self) -> None:
        self.time = 0.0
        """Seconds since the run began."""
        self.completed: dict[str, int] = {}
        """Ids of the jobs that completed, in this order, each with the number of its attempts."""
        self.failed: dict[str, int] = {}
        """The same of those that failed for good."""
        self.attempts: Counter[str] = Counter()
        """Attempts that ended, by the job's id."""
        self.result: Result | None = None
        """What the run left behind; None while it goes on."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.result is None:
            raise AttributeError(f"the run has no {name!r} while it goes on; ask for it at_end")
        return getattr(self.result, name)


class InvariantMonitor:
    """Asks the invariants of one run. `on_violation` is called with the time and the invariant's name, when one is
    violated while the run goes on.

    Args:
        shared: what the first argument of each is.
    """

    def __init__(self, invariants: Sequence[Invariant], shared: Any) -> None:
        self.invariants = list(invariants)
        self.run = RunSoFar()
        self.on_violation: Callable[[float, str], None] = lambda time, text: None
        self._shared = shared
        self._rows: dict[int, CheckRow] = {}
        self._watched = [(i, one) for i, one in enumerate(self.invariants) if one.when is not When.AT_END]

    def observe(self, inner: WorkerObserver, now: Callable[[], float]) -> WorkerObserver:
        """An observer for a worker that also asks the invariants after each attempt; the same if none wants that."""
        return MonitoredObserver(inner, self, now) if self.invariants else inner

    def attempt(self, job: Job, outcome: Outcome, lost: bool, time: float) -> None:
        """An attempt has ended."""
        run = self.run
        run.attempts[job.id] += 1
        if not lost and isinstance(outcome, (Completed, Failed)):
            (run.completed if isinstance(outcome, Completed) else run.failed)[job.id] = job.attempts_made + 1
        self.ask(time)

    def ask(self, time: float) -> None:
        """Ask those that are asked while the run goes on."""
        if not self._watched:
            return
        self.run.time = time
        for i, invariant in list(self._watched):
            problem = self._problem(invariant)
            if (problem is None) == (invariant.when is When.EVENTUALLY):
                # it is decided: violated now, or it held once
                self._watched.remove((i, invariant))
                self._rows[i] = _row(invariant, problem, time)
                if problem is not None:
                    self.on_violation(time, invariant.title)

    def checks(self, result: Result) -> list[CheckRow]:
        """How they came out, once the run is over."""
        self.run.result = result
        self.run.time = time = result.facts.duration
        stopped = result.facts.stopped is not None
        for i, invariant in enumerate(self.invariants):
            if i in self._rows:
                continue
            problem = self._problem(invariant)
            if problem is not None and invariant.when is When.EVENTUALLY and stopped:
                # it may have held later
                self._rows[i] = CheckRow(invariant.title, True, math.nan, "", None, problem, kind=KIND, judged=0.0)
            else:
                self._rows[i] = _row(invariant, problem, time)
        return [self._rows[i] for i in range(len(self.invariants))]

    def _problem(self, invariant: Invariant) -> str | None:
        """What is wrong; None if the invariant holds."""
        arguments = (self._shared, self.run)[: positional(invariant.check)]
        try:
            with outside():
                answer = invariant.check(*arguments)
        except AssertionError as error:
            # pytest adds lines on how it came about
            return str(error).partition("\n")[0] or f"assertion failed: {_line(error)}"
        except Exception as error:
            raise InvariantError(
                f"the invariant {invariant.title!r} raised {type(error).__name__}: {error} ({_line(error)}). "
                "It must return true, false or messages, or fail an assertion; mend it"
            ) from error
        return _violation(answer, invariant)


def _violation(answer: Any, invariant: Invariant) -> str | None:
    """What an answer says is wrong; None if nothing is."""
    if answer is None or isinstance(answer, (bool, np.bool_)):
        return None if answer is None or answer else "it does not hold"
    if isinstance(answer, str):
        return answer or None
    if isinstance(answer, Iterable):
        messages = [str(message) for message in answer]
        more = f" and {len(messages) - SHOWN} more" if len(messages) > SHOWN else ""
        return f"{'; '.join(messages[:SHOWN])}{more}" if messages else None
    raise InvariantError(
        f"the invariant {invariant.title!r} returned {answer!r}: return true, false, a message, or a list of messages"
    )


def _line(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}"


def _row(invariant: Invariant, problem: str | None, time: float) -> CheckRow:
    words = {When.ALWAYS: "always", When.EVENTUALLY: "eventually", When.AT_END: "at the end"}
    at = None if problem is None else time
    return CheckRow(invariant.title, problem is None, math.nan, words[invariant.when], at, problem or "", kind=KIND)


class MonitoredObserver:
    """Hands each attempt on, and lets the invariants be asked."""

    def __init__(self, inner: WorkerObserver, monitor: InvariantMonitor, now: Callable[[], float]) -> None:
        self._inner = inner
        self._monitor = monitor
        self._now = now

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        """See WorkerObserver."""
        self._inner.attempt(worker, slot, job, ended, outcome, lost)
        self._monitor.attempt(job, outcome, lost, self._now())
