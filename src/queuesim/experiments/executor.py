"""Executors: where the runs of experiments are played. Each returns the same figures, bit for bit.

A run's figures depend on its task alone. Executors differ in where they play it, and in nothing else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Protocol, Self

from queuesim.error import QueuesimError
from queuesim.experiments.cache import RunCache
from queuesim.experiments.task import Measured, Task, check_sendable, play, scenario_of
from queuesim.text import counted, shown


class Executor(Protocol):
    """Plays tasks, in whatever order and place."""

    @property
    def count(self) -> int:
        """How many tasks it plays at a time."""
        ...

    @property
    def remote(self) -> bool:
        """Whether it plays in other processes, so that all of a task must be sent there."""
        ...

    def play(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
        """Play tasks. Yields the place of a task and what it measured, as soon as it is known.

        Raises:
            WorkerDiedError: a task killed the process that played it again and again.
            KeyboardInterrupt: Ctrl-C; what still runs is ended at once.
        """
        ...

    def close(self) -> None:
        """Let go of all processes. Further tasks start new ones."""
        ...


Given = Executor | int | None
"""What stands for an executor: None for this process, a number of processes, or an executor of the caller's own."""


@contextlib.contextmanager
def executor_for(given: Given) -> Iterator[Executor]:
    """The executor that is meant. One that is made here is closed at the end.

    Raises:
        ValueError: a number of processes below 1.
    """
    if given is not None and not isinstance(given, int):
        yield given
        return
    made: Executor = InProcess() if given is None else Processes(given)
    try:
        yield made
    finally:
        made.close()


def play_all(
    tasks: Sequence[Task],
    executor: Executor,
    cache: RunCache | None = None,
    report: Callable[[int], None] | None = None,
) -> list[Measured]:
    """What all tasks measured, in their order, as far as possible from a cache, into which the others go.

    Args:
        report: called with how many are done.

    Raises:
        CacheError: the cache can't be used. What `Executor.play` raises.
    """
    found: dict[int, Measured] = {}
    if cache is not None:
        known = ((place, cache.get(task)) for place, task in enumerate(tasks))
        found = {place: measured for place, measured in known if measured is not None}
    left = [place for place in range(len(tasks)) if place not in found]
    if report is not None and found:
        report(len(found))
    for place, measured in executor.play([tasks[place] for place in left]) if left else ():
        found[left[place]] = measured
        if cache is not None:
            cache.put(tasks[left[place]], measured)
        if report is not None:
            report(len(found))
    return [found[place] for place in range(len(tasks))]


# -- In this process


class InProcess:
    """Plays one task after the other, in this process."""

    count = 1
    remote = False

    def play(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
        """See `Executor.play`."""
        for place, task in enumerate(tasks):
            yield place, play(task)

    def close(self) -> None:
        """There is nothing to let go of."""

    def __repr__(self) -> str:
        return "InProcess()"


# -- In processes of this machine

MOST_DEATHS = 2
"""The number of processes killed by a task at which it is given up."""


class WorkerDiedError(QueuesimError):
    """A task killed the process that played it, each time it was tried."""


class TaskError(QueuesimError):
    """A task failed in another process, by an error that can't be sent; the message has what it said."""


@dataclass(slots=True)
class _Worker:
    """A process that plays tasks, and what it plays now."""

    process: BaseProcess
    connection: Connection
    place: int | None = None


class Processes:
    """Plays tasks in processes of this machine. They are started when they are needed, and live until `close`.

    A process that dies is replaced, and its task is played again. The pools of `concurrent.futures` and of joblib can't
    do that: when a process of theirs dies, all of the pool breaks, and nothing says which task it had.

    The script that is running is not imported by the processes: it needs no ``if __name__ == "__main__"``.

    Args:
        count: how many; None for one for each processor core that this process may use.

    Raises:
        ValueError: fewer than 1.
    """

    remote = True

    def __init__(self, count: int | None = None) -> None:
        if count is not None and count < 1:
            raise ValueError(f"an executor needs 1 process or more, not {count}")
        self.count = _cores() if count is None else count
        self._workers: list[_Worker] = []

    def play(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
        """See `Executor.play`. Raises SendError if a task has an object that can't be sent."""
        check_sendable(tasks)
        waiting, deaths = deque(range(len(tasks))), Counter[int]()
        finished = False
        try:
            while waiting or any(worker.place is not None for worker in self._workers):
                self._dispatch(tasks, waiting)
                busy = {worker.connection: worker for worker in self._workers if worker.place is not None}
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    place = worker.place
                    assert place is not None
                    found = self._receive(worker)
                    if found is None:
                        deaths[place] += 1
                        self._remove(worker, tasks[place], deaths[place])
                        # at the front: if it kills again, that is known soon
                        waiting.appendleft(place)
                    else:
                        yield place, found
            finished = True
        finally:
            if not finished:
                # what is still played is of no use, and may take hours
                self.close()

    def _dispatch(self, tasks: Sequence[Task], waiting: deque[int]) -> None:
        """A task for each idle process, with new processes as far as they are needed."""
        idle = [worker for worker in self._workers if worker.place is None]
        while waiting and (idle or len(self._workers) < self.count):
            worker = idle.pop() if idle else self._start()
            worker.place = waiting.popleft()
            # a process that has died meanwhile is found out when its answer is read
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                worker.connection.send(tasks[worker.place])

    @staticmethod
    def _receive(worker: _Worker) -> Measured | None:
        """What a process answers; None if it has died. Raises the error that its task raised."""
        try:
            found = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        worker.place = None
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Measured)
        return found

    def _remove(self, worker: _Worker, task: Task, deaths: int) -> None:
        """Forget a process that has died. Raises WorkerDiedError if its task has killed too many."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        if deaths >= MOST_DEATHS:
            raise WorkerDiedError(
                f"{described(task)} killed the process that played it, {counted(deaths, 'time')}: "
                f"{_cause(worker.process.exitcode)}"
            )

    def _start(self) -> _Worker:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(there,), name="queuesim-worker", daemon=True
        )
        with _main_hidden(), _interrupts_blocked():
            process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Processes({self.count})"


def described(task: Task) -> str:
    """A task in words: its scenario and its seed."""
    return f"{shown(scenario_of(task).name)} with seed {task.seed}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cause(code: int | None) -> str:
    """Why a process died, by its exit code."""
    if code is None or code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as the system does when memory runs out" if -code == getattr(signal, "SIGKILL", 9) else ""
    return f"it was killed by {name}{hint}"


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """A process that is started here does not import the caller's script, which would run it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started here never sees Ctrl-C, which a terminal sends to all: this one ends it instead."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """What a process does: play the tasks that come, until the other end of the connection is gone."""
    # where it can't be blocked
    with contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                answer: Measured | Exception = play(task)
            except Exception as error:  # noqa: BLE001 - it is raised again where the task came from
                answer = _sendable(error, task)
            connection.send(answer)


def _sendable(error: Exception, task: Task) -> Exception:
    """The error, or one that says the same, if it can't be sent."""
    with contextlib.suppress(Exception):
        copy = pickle.loads(pickle.dumps(error))
        if type(copy) is type(error) and str(copy) == str(error):
            return error
    if isinstance(error, QueuesimError):
        return TaskError(str(error))
    return TaskError(f"{described(task)}: {''.join(traceback.format_exception(error)).rstrip()}")
