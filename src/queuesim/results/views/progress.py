"""Progress of long work by tqdm.auto: a widget in a notebook, a line on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from queuesim.extras import need
from queuesim.text import counted, readable, shown

if TYPE_CHECKING:
    from rich.console import Console


Count = Callable[[float, int], None]
Tell = Callable[[int, int], None]

PATIENCE = 2.0
"""Real seconds without a bar that nobody asked for: what is done by then needs none, nor the import of the widgets."""


def in_notebook() -> bool:
    """Whether this runs in a cell of a notebook: IPython has a kernel."""
    shell = sys.modules.get("IPython")
    active: Any = None if shell is None else shell.get_ipython()
    return active is not None and getattr(active, "kernel", None) is not None


def wanted(asked: bool | None) -> bool:
    """Whether to show a bar: if asked, or in a notebook that has tqdm."""
    if asked is not None:
        return asked
    return in_notebook() and find_spec("tqdm") is not None


@contextlib.contextmanager
def run_bar(duration: float, name: str, progress: Count | bool | None) -> Iterator[Count | None]:
    """A bar of a run, or the caller's own function, or nothing (None): to be called with the seconds simulated and the
    jobs finished. A bar that was not asked for comes after PATIENCE, and each is gone when the run is over.

    Raises:
        MissingExtraError: a bar was asked for, and tqdm is not installed.
    """
    if callable(progress) or not wanted(progress):
        yield progress if callable(progress) else None
        return
    bar = RunBar(duration, name)
    if progress:
        bar.show()
    began = time.perf_counter()

    def tell(now: float, finished: int) -> None:
        if bar.shown or time.perf_counter() - began >= PATIENCE:
            bar.show()
            bar.tell(now, finished)

    try:
        yield tell
    finally:
        bar.close()


class RunBar:
    """The bar of a run, which is not there until it is shown."""

    def __init__(self, duration: float, name: str) -> None:
        self._duration, self._name = duration, shown(name)
        self._bar: Any = None

    @property
    def shown(self) -> bool:
        """Whether it is there."""
        return self._bar is not None

    def show(self) -> None:
        """Make it appear, if it has not. Raises MissingExtraError."""
        if self._bar is None:
            tqdm = need("tqdm.auto", "notebook", "progress bars").tqdm
            shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}"
            self._bar = tqdm(total=self._duration, desc=self._name, leave=False, bar_format=shape)

    def tell(self, now: float, finished: int) -> None:
        """How many seconds are simulated, and how many jobs have finished."""
        from queuesim.text import readable

        so_far = f"{readable(round(now))} of {readable(self._duration)}, {finished:,} jobs"
        self._bar.set_description_str(f"{self._name}: {so_far}", refresh=False)
        self._bar.update(min(now, self._duration) - self._bar.n)

    def close(self) -> None:
        """Make it go."""
        if self._bar is not None:
            _finish(self._bar)
            self._bar.close()


@contextlib.contextmanager
def count_bar(total: int, name: str, progress: Tell | bool | None) -> Iterator[Tell]:
    """A bar of so many runs, or the caller's own function, or nothing: to be called with how many are done, and of how
    many."""
    if callable(progress):
        yield progress
    elif not wanted(progress):
        yield lambda done, of: None
    else:
        tqdm = need("tqdm.auto", "notebook", "progress bars").tqdm
        with tqdm(total=total, desc=name, unit="run", leave=False) as bar:
            yield lambda done, of: bar.update(done - bar.n)
            _finish(bar)


def _finish(bar: Any) -> None:
    """A run may end before its time, and a bar that is closed before its end stays in the notebook, in red."""
    bar.total = bar.n


# -- The progress bar of a run: how far virtual time has come, how many jobs have finished, how long it takes

INTERVAL = 0.1
"""Real seconds between two drawings at least: to draw takes about a millisecond of the run's time."""


class ProgressBar:
    """A bar on stderr while a run goes on, gone when it ends. Call it with the seconds simulated and jobs finished.

    It is drawn when it is called, not by a thread of its own, which would take time from the run.
    """

    def __init__(self, name: str, duration: float, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._duration = duration
        self._drawn = -INTERVAL
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            TimeElapsedColumn(),
            console=console or Console(stderr=True),
            auto_refresh=False,
            transient=True,
            # what handlers print goes where it would have gone
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(shown(name), total=duration, told="")

    def __call__(self, now: float, finished: int) -> None:
        drawn = time.perf_counter()
        if drawn - self._drawn < INTERVAL:
            return
        self._drawn = drawn
        of = f"of {readable(self._duration)}" if now <= self._duration else "(draining)"
        told = f"{readable(round(now))} {of}, {counted(finished, 'job')} finished"
        self._bar.update(self._task, completed=min(now, self._duration), told=told, refresh=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()


def wants_progress() -> bool:
    """Whether somebody watches: stderr is a terminal that can move its cursor."""
    from rich.console import Console

    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
