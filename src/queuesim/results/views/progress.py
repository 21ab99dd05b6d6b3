"""The progress bar of long work, by rich: a line on a terminal, or below the cell of a notebook."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from queuesim.text import counted, readable, shown

if TYPE_CHECKING:
    from rich.console import Console

Tell = Callable[[Any, int], None]
"""Called with how much is done, in seconds or runs, and a number of things: the jobs finished, or all runs."""

INTERVAL = 0.1
"""Real seconds between two drawings at least: to draw takes about a millisecond of the run's time."""
PATIENCE = 2.0
"""Real seconds until a bar appears that nobody asked for: work that is done by then needs none."""


class ProgressBar:
    """A bar that is gone when the work is over. Call it with how much is done and a number to put into words.

    It is drawn when it is called, not by a thread of its own, which would take time from the run.
    """

    def __init__(
        self,
        name: str,
        total: float,
        words: Callable[[float, int], str],
        delay: float = 0.0,
        console: Console | None = None,
    ) -> None:
        self._name, self._total, self._words, self._console = shown(name), total, words, console
        self._bar: Any = None
        self._cell: Any = None
        self._next = time.perf_counter() + delay
        if not delay:
            self._show()

    def __call__(self, done: float, number: int) -> None:
        now = time.perf_counter()
        if now < self._next:
            return
        self._next = now + INTERVAL
        if self._bar is None:
            self._show()
        self._bar.update(self._task, completed=min(done, self._total), text=self._words(done, number))
        if self._cell is None:
            self._bar.refresh()
        else:
            self._cell.update(self._bar)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            console=self._console or Console(stderr=True),
            auto_refresh=False,
            transient=True,
            # what handlers print goes where it would have gone
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(self._name, total=self._total, text="")
        if in_notebook():
            from IPython import display

            # an output of its own, which needs no widgets
            self._cell = display.display(self._bar, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._bar.start()

    def close(self) -> None:
        """Take it away."""
        if self._cell is not None:
            self._cell.update({"text/plain": "", "text/html": ""}, raw=True)
        elif self._bar is not None:
            self._bar.stop()


def run_bar(duration: float, name: str, progress: Tell | bool | None) -> contextlib.AbstractContextManager[Tell | None]:
    """A bar of a run: to be called with the seconds simulated and the jobs finished. See `_bar_or`."""

    def words(now: float, finished: int) -> str:
        of = f"of {readable(duration)}" if now <= duration else "(draining)"
        return f"{readable(round(now))} {of}, {counted(finished, 'job')} finished"

    return _bar_or(progress, name, duration, words)


def count_bar(total: int, name: str, progress: Tell | bool | None) -> contextlib.AbstractContextManager[Tell | None]:
    """A bar of several runs: to be called with how many are done, and of how many. See `_bar_or`."""
    return _bar_or(progress, name, total, lambda done, of: f"{done:,.0f} of {counted(of, 'run')}")


@contextlib.contextmanager
def _bar_or(
    progress: Tell | bool | None, name: str, total: float, words: Callable[[float, int], str]
) -> Iterator[Tell | None]:
    """A bar, or the caller's own function, or nothing (None). In a notebook a bar that nobody asked for (None) comes
    after PATIENCE."""
    if callable(progress):
        yield progress
    elif progress or (progress is None and in_notebook()):
        bar = ProgressBar(name, total, words, 0.0 if progress else PATIENCE)
        try:
            yield bar
        finally:
            bar.close()
    else:
        yield None


def in_notebook() -> bool:
    """Whether this runs in a cell of a notebook: IPython has a kernel."""
    shell = sys.modules.get("IPython")
    active: Any = None if shell is None else shell.get_ipython()
    return active is not None and getattr(active, "kernel", None) is not None


def wants_progress() -> bool:
    """Whether somebody watches: stderr is a terminal that can move its cursor."""
    from rich.console import Console

    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
