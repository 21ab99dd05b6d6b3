"""Sweeps: a scenario over every combination of some values, a row of measurements for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from queuesim.experiments.axes import Axes, AxisError
from queuesim.experiments.cache import cache_in
from queuesim.experiments.estimates import Estimates
from queuesim.experiments.executor import Given, executor_for, play_all
from queuesim.experiments.figures import check_figure, parts_of, shown_mean, unit_of
from queuesim.experiments.interval import Interval, paired
from queuesim.experiments.replications import Options, playing_of
from queuesim.experiments.stability import AFFECTED, why_unstable
from queuesim.experiments.task import RUN, Measured, Playing, scenario_to_play, seeds_of, tasks_of
from queuesim.extras import need
from queuesim.results.markup import html_table
from queuesim.runs.effort import effort, refuse_many, refuse_too_large
from queuesim.scenario.loading import Source, vary
from queuesim.text import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from queuesim.scenario.model import Scenario


MEASURED = ("latency.p95", "waiting.p95", "backlog.max", "utilisation", "throughput")
"""What is measured unless something else is asked for."""


def sweep(
    scenario: Source,
    axes: Mapping[str, Sequence[Any]],
    measured: Sequence[str] = MEASURED,
    *,
    seeds: int | Sequence[int] | None = None,
    replications: int | None = None,
    executor: Given = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
    **options: Unpack[Options],
) -> SweepFrame:
    """Play a scenario with every combination of values, and measure each run.

    Every combination is played with the same seeds (common random numbers): two runs with one seed have the same
    arrivals and service times, as far as both have them, so that differences between combinations are not hidden by
    chance. Each source of randomness has a stream of its own, which keeps them the same when something else changes.

    Args:
        axes: paths of the scenario, as `vary` takes them, each with the values to try; ``load`` multiplies the load.
        measured: metrics as thresholds name them, with the statistic after a dot: ``latency.p95``, ``throughput``; and
            ``drained``, when the backlog was gone.
        seeds: how many to play each combination with, from the scenario's own on, or which; 1 unless given.
        replications: in place of `seeds`: how many independent runs of each combination, with the seeds of
            `queuesim.replicate`. `SweepFrame.intervals` and `SweepFrame.differences` need 2 or more.
        executor: where to play: None for this process, a number of processes, or an `Executor`.
        cache: directory of a `RunCache`: runs that it knows are not played again, so that a sweep that was interrupted
            goes on.
        progress: called with the runs done and how many there are; True for a bar, None for one in a notebook.
        options: `processor`, `shared`, `invariants`, `backend`, `shuffle`, `handler_limit`, `allow_io`, `no_limit`, as
            `queuesim.run` takes them.

    Returns:
        A frame with a row a run: a column for each axis, `seed`, one for each metric (times in seconds), and `ok`.

    Raises:
        ProcessorImportError, FactoryError: the processor can't be made.
        ValueError: there is no such metric or path, a value can't be there, or an axis has no values.
        TooLargeError: the runs would take more than a day, or one of them more than 64 GB of memory, at least.
        SendError: own code can't be sent to the executor's processes.
        WorkerDiedError: a run killed the process that played it again and again.
        CacheError: the cache can't be used.
        KeyboardInterrupt: Ctrl-C. What was played until then is in the cache.
    """
    from queuesim.results.views.progress import count_bar

    playing = playing_of(options)
    chosen = scenario_to_play(scenario, playing)
    names = tuple(dict.fromkeys(measured))
    for name in names:
        check_figure(name)
    if not playing.no_limit:
        # before anything is enumerated
        sizes = [len(values) for values in axes.values() if isinstance(values, Sized)]
        refuse_many(math.prod(sizes) * _count(seeds, replications), RUN, "runs")
    grid = Axes.of(axes)
    if clash := set(grid.values) & {"seed", "ok", *names}:
        raise AxisError(f"the axis {clash.pop()!r} would have the name of another column")
    drawn = _seeds(chosen, seeds, replications)
    if not playing.no_limit:
        _refuse_too_large(chosen, grid, len(drawn))
    grid.check(chosen)
    combinations = list(grid)
    varied = [_varied(chosen, changes) for changes in combinations]
    total = len(varied) * len(drawn)
    bar = count_bar(total, chosen.name, progress)
    with executor_for(executor) as where, cache_in(cache) as stored, bar as report:
        runs = total / where.count
        tasks = [task for each in varied for task in tasks_of(each, drawn, names, playing, runs=runs)]
        tell = None if report is None else lambda done: report(done, total)
        outcomes = play_all(tasks, where, stored, tell)
    return SweepFrame.of(Sweep(chosen, grid, names, drawn, varied, outcomes, playing))


def _count(seeds: int | Sequence[int] | None, replications: int | None) -> int:
    """How many runs each combination has."""
    if seeds is None:
        return replications or 1
    return seeds if isinstance(seeds, int) else len(seeds)


def _seeds(scenario: Scenario, seeds: int | Sequence[int] | None, replications: int | None) -> list[int]:
    if seeds is not None and replications is not None:
        raise ValueError("give seeds or replications, not both")
    if replications is not None:
        if replications < 1:
            raise ValueError(f"replications must be 1 or more, not {replications}")
        return seeds_of(scenario.seed, replications)
    if seeds is None or isinstance(seeds, int):
        return list(range(scenario.seed, scenario.seed + (1 if seeds is None else seeds)))
    return list(seeds)


def _varied(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """A combination. Raises AxisError if values that are possible alone are not so together."""
    try:
        return vary(scenario, changes)
    except (ValueError, TypeError) as error:
        raise AxisError(f"{_named(changes)}: {error}") from None


EXAMINED = 500
"""Combinations whose effort is estimated one by one; of more of them, this many are estimated, evenly spread."""


def _refuse_too_large(scenario: Scenario, axes: Axes, seeds: int) -> None:
    """Raise TooLargeError if all runs together, or one of those examined, would take too long or too much memory."""
    combinations = len(axes)
    examined = [*range(0, combinations, -(-combinations // EXAMINED))]
    seconds = 0.0
    for i in examined:
        changed = _varied(scenario, axes.at(i))
        refuse_too_large(changed)
        seconds += effort(changed).seconds
    refuse_many(combinations * seeds, RUN + seconds / len(examined), "runs")


def _named(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{path} {show(value)}" for path, value in changes.items())


# -- What a sweep measured


@dataclass(slots=True)
class Sweep:
    """A sweep that was played."""

    scenario: Scenario
    axes: Axes
    measured: tuple[str, ...]
    seeds: list[int]
    varied: list[Scenario]
    """A scenario for each combination, in the order of `axes`."""
    outcomes: list[Measured]
    """For each combination in turn, one for each seed."""
    playing: Playing = field(default_factory=Playing)
    _unstable: dict[int, str] = field(default_factory=dict)

    def of(self, place: int) -> list[Measured]:
        """What the runs of a combination measured, one for each seed."""
        return self.outcomes[place * len(self.seeds) : (place + 1) * len(self.seeds)]

    def values(self, place: int, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A figure of the runs of a combination, one for each seed; NaN where there was nothing to measure."""
        return np.array([each.figures[name] for each in self.of(place)])

    def estimates(self, place: int, confidence: float) -> tuple[Estimates, str]:
        """The means over the runs of a combination, and why it has no steady state."""
        if place not in self._unstable:
            self._unstable[place] = why_unstable(self.varied[place], self.playing, self.of(place))
        unstable = self._unstable[place]
        withheld = {name: unstable for name in self.measured if unstable and name.partition(".")[0] in AFFECTED}
        frame = pd.DataFrame([each.figures for each in self.of(place)], columns=list(self.measured))
        return Estimates(frame, confidence, withheld), unstable

    def place_of(self, base: Mapping[str, Any] | None) -> int:
        """The place of a combination by some of its values; the first one if there are several. Raises AxisError."""
        wanted = dict(base or {})
        for path, value in wanted.items():
            if path not in self.axes.values:
                raise AxisError(f"the base has the path {path!r}, which is no axis: {', '.join(self.axes.values)}")
            if value not in self.axes.values[path]:
                known = ", ".join(show(each) for each in self.axes.values[path])
                raise AxisError(f"the base has {path} {show(value)}, which was not played: {known}")
        places = (i for i, each in enumerate(self.axes) if all(each[path] == value for path, value in wanted.items()))
        return next(places)


class SweepFrame(pd.DataFrame):
    """A row a run, shown in a notebook with units and four digits. What is taken out of it is plain pandas.

    The frame that `sweep` returns, and it alone, also estimates means with intervals, and differences.
    """

    _metadata = ("sweep",)
    sweep: Sweep | None = None

    @classmethod
    def of(cls, sweep: Sweep) -> SweepFrame:
        """The frame of a sweep."""
        rows = []
        for place, combination in enumerate(sweep.axes):
            for seed, measured in zip(sweep.seeds, sweep.of(place), strict=True):
                rows.append({**combination, "seed": seed, **measured.figures, "ok": measured.ok})
        frame = cls(pd.DataFrame(rows, columns=[*sweep.axes.values, "seed", *sweep.measured, "ok"]))
        object.__setattr__(frame, "sweep", sweep)
        return frame

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _played(self) -> Sweep:
        if self.sweep is None:
            raise ValueError("only the frame that sweep returned knows the runs: keep it, and take parts of it later")
        return self.sweep

    def intervals(self, confidence: float = 0.95) -> pd.DataFrame:
        """The mean of each figure of each combination, with its t-interval over the runs.

        A row a combination and figure: a column for each axis, metric, statistic, mean, low, high, half_width,
        replications, unit, note (why there is no interval: the combination has no steady state). `failed` is in how
        many of the runs a check failed.

        Raises:
            ValueError: a confidence outside (0, 1).
            MissingExtraError: scipy is not installed.
        """
        sweep, rows = self._played(), []
        for place, combination in enumerate(sweep.axes):
            found, unstable = sweep.estimates(place, confidence)
            failed = sum(not each.ok for each in sweep.of(place))
            for name in sweep.measured:
                affected = unstable if name.partition(".")[0] in AFFECTED else ""
                rows.append({**combination, **_row(name, found.interval(name)), "note": affected, "failed": failed})
        return pd.DataFrame(rows)

    def differences(self, base: Mapping[str, Any] | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """How the mean of each figure differs from that of a base combination, with the interval of the difference.

        Runs with the same seed are compared in pairs, which leaves out of the interval what the combinations have in
        common by chance.

        Args:
            base: values of the base combination: ``{"workers.count": 1}``; without it, the first combination.

        Returns:
            The columns of `intervals` without note and failed, a row for each combination but the base and each figure.

        Raises:
            AxisError: there is no such combination.
            ValueError: fewer than 2 seeds, or a confidence outside (0, 1).
            MissingExtraError: scipy is not installed.
        """
        sweep, rows = self._played(), []
        if len(sweep.seeds) < 2:
            raise ValueError("differences need 2 runs of each combination or more: sweep(..., replications=10)")
        chosen = sweep.place_of(base)
        for place, combination in enumerate(sweep.axes):
            if place == chosen:
                continue
            for name in sweep.measured:
                first, second = sweep.values(place, name), sweep.values(chosen, name)
                known = np.isfinite(first) & np.isfinite(second)
                if known.sum() >= 2:
                    found = paired(first[known], second[known], confidence=confidence)
                else:
                    mean = float((first[known] - second[known]).mean()) if known.any() else float("nan")
                    found = Interval(mean, float("nan"), confidence, int(known.sum()))
                rows.append({**combination, **_row(name, found)})
        return pd.DataFrame(rows)

    def table(self, confidence: float = 0.95) -> tuple[list[str], list[list[str]]]:
        """The combinations as people read them: the heads, and a row each."""
        sweep = self._played()
        heads = [*sweep.axes.values, *sweep.measured, "ok"]
        rows = []
        for place, combination in enumerate(sweep.axes):
            found, unstable = sweep.estimates(place, confidence)
            cells = [_cell(found, name) for name in sweep.measured]
            ok = f"{sum(each.ok for each in sweep.of(place))} of {len(sweep.seeds)}"
            rows.append([*map(_plain, combination.values()), *cells, f"{ok}, no steady state" if unstable else ok])
        return heads, rows

    def difference_table(
        self, base: Mapping[str, Any] | None = None, confidence: float = 0.95
    ) -> tuple[list[str], list[list[str]]]:
        """The differences from a base as people read them: the heads, and a row for each other combination. A star
        marks those whose interval is all on one side of 0. Raises what `differences` raises."""
        sweep, found = self._played(), self.differences(base, confidence)
        chosen = sweep.place_of(base)
        rows: list[list[str]] = []
        for place, combination in enumerate(sweep.axes):
            if place != chosen:
                row = len(rows) * len(sweep.measured)
                cells = found.iloc[row : row + len(sweep.measured)]
                each = zip(sweep.measured, cells["mean"], cells["half_width"], strict=True)
                rows.append([*map(_plain, combination.values()), *(_difference(*values) for values in each)])
        return [*sweep.axes.values, *sweep.measured], rows

    def page(self, figure: Figure, confidence: float = 0.95) -> str:
        """A page of HTML with the table and a picture, that needs nothing else."""
        import io

        from queuesim.results.markup import fill

        heads, rows = self.table(confidence)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg")
        name = self._played().scenario.name
        svg = drawing.getvalue()
        return fill("sweep.html", name=name, head=heads, rows=rows, picture=svg[svg.index("<svg") :])

    def picture(
        self, figures: Sequence[str] | None = None, confidence: float = 0.95, figure: Figure | None = None
    ) -> Figure:
        """Draw figures over one axis, as lines with their intervals, or over two, as a heat map of the means; a panel
        for each figure, in `figure` or a new pyplot figure.

        Raises:
            ValueError: the sweep has another number of axes with several values, or no such figure.
            MissingExtraError: matplotlib is not installed.
        """
        need("matplotlib", "plot", "plots")
        from queuesim.results.plots.sweeps import draw_sweep

        sweep = self._played()
        names = list(sweep.measured if figures is None else figures)
        if missing := [name for name in names if name not in sweep.measured]:
            raise ValueError(f"the sweep did not measure {missing[0]}: {', '.join(sweep.measured)}")
        moving = [path for path, values in sweep.axes.values.items() if len(values) > 1]
        if len(moving) > 2 or not moving:
            many = ", ".join(moving) or "none"
            raise ValueError(f"a picture has one or two axes with several values, and there are {len(moving)}: {many}")
        frame = pd.DataFrame(self) if len(moving) == 2 else self.intervals(confidence)
        return draw_sweep(frame, moving, names, figure)

    def _repr_html_(self) -> str:
        head = [f"{name}, {unit}" if (unit := unit_of_column(str(name))) else str(name) for name in self.columns]
        return html_table(head, self.astype(object).itertuples(index=False))


def _row(name: str, found: Interval) -> dict[str, Any]:
    metric, statistic = parts_of(name)
    return {
        "metric": metric,
        "statistic": statistic,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "half_width": found.half_width,
        "replications": found.samples,
        "unit": unit_of(name),
    }


def _cell(found: Estimates, name: str) -> str:
    interval = found.interval(name)
    return shown_mean(name, interval.mean, interval.half_width)


def _difference(name: str, mean: float, half_width: float) -> str:
    """A star marks what is no chance."""
    text = shown_mean(name, mean, half_width)
    sign = "+" if mean > 0 else ""
    return f"{sign}{text}{' *' if abs(mean) > half_width else ''}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else show(value) if not isinstance(value, (dict, list)) else str(value)


def unit_of_column(column: str) -> str:
    """Unit of a column of a sweep that is a time or a rate; "" if it has none."""
    unit = unit_of(column)
    return unit if unit in ("s", "1/s") else ""
