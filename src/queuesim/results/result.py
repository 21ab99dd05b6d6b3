"""Result: what a run came to, as pandas frames that are built when first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from queuesim.results.recording import Facts, Recording

if TYPE_CHECKING:
    import pandas as pd

    from queuesim.results.analysis import Analysis
    from queuesim.results.frames import CalendarFrames
    from queuesim.results.plots import Plots
    from queuesim.results.summary import Summary


ROWS = ("jobs", "attempts", "events")
"""The parts of a recording that grow with the number of jobs."""


class Result:
    """What a run came to. Times are seconds since the run began; `facts.epoch` places them in the calendar."""

    def __init__(self, recording: Recording) -> None:
        self.facts = recording.facts
        """What was run."""
        self._recording: Recording | None = recording
        self._frames: dict[str, pd.DataFrame] = {}
        self._summary: Summary | None = None

    @classmethod
    def load(cls, directory: str | Path) -> Result:
        """Read a result that `to_parquet` wrote.

        Raises:
            StoredResultError: there is none, or one of another version.
            MissingExtraError: pyarrow is not installed.
        """
        from queuesim.results.frames import FRAMES
        from queuesim.results.storage import read

        facts, frames = read(directory, FRAMES)
        return cls._of(facts, frames)

    @classmethod
    def _of(cls, facts: Facts, frames: dict[str, pd.DataFrame]) -> Result:
        result = cls.__new__(cls)
        result.facts, result._recording, result._frames, result._summary = facts, None, frames, None
        result._complete()
        return result

    def _frame(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            from queuesim.results.frames import build_frames

            if name == "events":
                self._frame("jobs")  # needs the rows of events, which are let go of
            recording = self._recording
            assert recording is not None, "a result without a recording has all of its frames"
            if name == "checks":
                recording.checks.extend(check(self) for check in recording.late_checks)
                recording.late_checks.clear()
            built = build_frames(recording, name)
            self._frames.update(built)
            self._release(built)
            self._complete()
        return self._frames[name]

    def _complete(self) -> None:
        """Add to the jobs what it takes the other frames to know; results of older versions were stored without."""
        from queuesim.results.frames import AT_ARRIVAL, with_arrivals

        if "jobs" in self._frames and AT_ARRIVAL[0] not in self._frames["jobs"]:
            self._frames["jobs"] = with_arrivals(self)

    def _release(self, built: Iterable[str]) -> None:
        """Let go of rows that are in frames now: with a million jobs they weigh 150 MB."""
        if self._recording is not None:
            empty = {name: getattr(self._recording, name)[:0].copy() for name in built if name in ROWS}
            self._recording = replace(self._recording, **empty)

    @property
    def jobs(self) -> pd.DataFrame:
        """A row a job: job, name, load, scheduled, added, ready, started, finished, state, attempts, priority, delay,
        waiting, latency, service, warmup, backlog_at_arrival, utilisation_at_arrival, and id where jobs have ids of
        their own."""
        return self._frame("jobs")

    @property
    def attempts(self) -> pd.DataFrame:
        """A row an attempt, in the order of their starts: job, name, attempt, worker, slot, ready, started, ended,
        waiting, service, outcome, error_type, category, retryable, message, backoff, clock_error."""
        return self._frame("attempts")

    @property
    def events(self) -> pd.DataFrame:
        """A row an event: time, job, kind, previous."""
        return self._frame("events")

    @property
    def limiter(self) -> pd.DataFrame:
        """A row a limiter window: opened, closes, max, starts, used, last_start, time_limited."""
        return self._frame("limiter")

    @property
    def overdue(self) -> pd.DataFrame:
        """A row a scan for overdue tasks: scan, trigger, began, ended, pages, found, enqueued, duplicates, drained,
        duration."""
        return self._frame("overdue")

    @property
    def faults(self) -> pd.DataFrame:
        """A row a fault that was injected: fault, target, began, ended, detail."""
        return self._frame("faults")

    @property
    def checks(self) -> pd.DataFrame:
        """A row a threshold or oracle: check, kind, ok, value, limit, at, detail."""
        from queuesim.results.frames import Checks

        return Checks(self._frame("checks"), copy=False)

    @property
    def ok(self) -> bool:
        """All checks hold, and the run did not get stuck."""
        stopped = self.facts.stopped
        return bool(self.checks["ok"].all()) and not (stopped is not None and stopped.stuck)

    @property
    def calendar(self) -> CalendarFrames:
        """The same frames with the calendar's times in place of seconds since the run began: `result.calendar.jobs`."""
        from queuesim.results.frames import CalendarFrames

        return CalendarFrames(self)

    def timeline(self, every: str | float = "10s") -> pd.DataFrame:
        """What happened in each bin of time. `every` is a number of seconds, or text such as "10s", "1m", "1h".

        See `queuesim.results.timeline.timeline` for the columns.

        Raises:
            ValueError: `every` is no duration above zero, or makes too many bins.
        """
        from queuesim.results.timeline import timeline

        return timeline(self, every)

    def summary(self) -> Summary:
        """The run in numbers, without the jobs of the warm-up."""
        if self._summary is None:
            from queuesim.results.summary import summarise

            self._summary = summarise(self)
        return self._summary

    def theory(self) -> pd.DataFrame:
        """What queueing theory says of the run: a row for each figure of each model that applies, beside what was
        measured; the attribute `models` of the frame says why each model applies or why not.

        See `queuesim.theory.frame.make_frame` for the columns.

        Raises:
            MissingExtraError: scipy is not installed.
        """
        from queuesim import results

        frame: pd.DataFrame = results.theory(self)
        return frame

    @property
    def analysis(self) -> Analysis:
        """Answers: `result.analysis.retries()`, `result.analysis.time_to_drain()`, and others."""
        from queuesim.results.analysis import Analysis

        return Analysis(self)

    @property
    def plot(self) -> Plots:
        """Pictures: `result.plot.overview()`, and others. They need matplotlib.

        Raises:
            MissingExtraError: it is not installed.
        """
        from queuesim.results.plots import Plots

        return Plots(self)

    def to_parquet(self, directory: str | Path) -> None:
        """Write all frames into a directory, a Parquet file each, and the facts as JSON. `load` reads it again.

        Raises:
            MissingExtraError: pyarrow is not installed.
            OSError: the directory can't be written.
        """
        from queuesim.results.frames import FRAMES
        from queuesim.results.storage import save

        save(directory, self.facts, {name: self._frame(name) for name in FRAMES})

    def to_html(self, file: str | Path | None = None) -> str:
        """A report of the run as one HTML page that needs nothing else; written into `file`, if there is one.

        Raises:
            MissingExtraError: matplotlib is not installed.
            OSError: the file can't be written.
        """
        from queuesim.results.views.html import page

        text = page(self)
        if file is not None:
            Path(file).write_text(text, encoding="utf-8")
        return text

    def __repr__(self) -> str:
        from queuesim.text import counted, readable

        facts, states = self.facts, self.jobs["state"].value_counts()
        from queuesim.results.views.digest import verdict

        span = f"{readable(facts.duration)}{', warm-up included' if facts.warmup else ''}"
        return (
            f"<Result {facts.scenario} on {facts.backend}, seed {facts.seed}: {counted(len(self.jobs), 'job')} in "
            f"{span}, {states['completed']:,} completed, {states['failed']:,} failed, {verdict(self)}>"
        )

    def _repr_html_(self) -> str:
        from queuesim.results.views.html import to_html

        return to_html(self)


def load(directory: str | Path) -> Result:
    """Read a result that `Result.to_parquet` wrote. Raises what `Result.load` raises."""
    return Result.load(directory)
