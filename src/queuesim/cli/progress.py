"""The progress bar of a run: how far virtual time has come, how many jobs have finished, how long it takes."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from queuesim.escaping import shown
from queuesim.metrics.text import counted, readable

if TYPE_CHECKING:
    from rich.console import Console

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
