"""Sweeps: a scenario over every combination of some values, a row of measurements for each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from queuesim.results.markup import html_table
from queuesim.results.metrics import METRICS, check_metric, measure
from queuesim.runs.effort import effort, refuse_many, refuse_too_large
from queuesim.runs.invariants import Given as Invariants
from queuesim.runs.run import run, scenario_for
from queuesim.scenario.loading import Source, vary
from queuesim.scenario.processors import Source as ProcessorSource

if TYPE_CHECKING:
    from queuesim.scenario.model import Scenario


MEASURED = ("latency.p95", "waiting.p95", "backlog.max", "utilisation", "throughput")
"""What is measured unless something else is asked for."""


def sweep(
    scenario: Source,
    axes: Mapping[str, Sequence[Any]],
    measured: Sequence[str] = MEASURED,
    *,
    seeds: int | Sequence[int] = 1,
    processor: ProcessorSource | None = None,
    shared: Callable[[], Any] | str | None = None,
    invariants: Invariants = None,
    progress: Callable[[int, int], None] | bool | None = None,
    no_limit: bool = False,
) -> pd.DataFrame:
    """Play a scenario with every combination of values, and measure each run.

    Args:
        axes: paths of the scenario, as `vary` takes them, each with the values to try; ``load`` multiplies the load.
        measured: metrics as thresholds name them, with the statistic after a dot: ``latency.p95``, ``throughput``.
        seeds: how many to play each combination with, from the scenario's own on, or which.
        processor: your own handlers, made anew for each life of each worker in each run, as `queuesim.run` takes them.
        shared: makes what outlives workers' processes, once for each run.
        invariants: what must hold of your own state; `ok` tells whether it did, beside the other checks.
        progress: called with the runs done and how many there are; True for a bar, None for one in a notebook.
        no_limit: also play what takes more than a day in all, or a run that needs more than 64 GB of memory.

    Returns:
        A frame with a row a run: a column for each axis, `seed`, one for each metric (times in seconds), and `ok`.

    Raises:
        ProcessorImportError, FactoryError: the processor can't be made.
        ValueError: there is no such metric or path, a value can't be there, or an axis has no values.
        TooLargeError: the runs would take more than a day, or one of them more than 64 GB of memory, at least.
    """
    from queuesim.results.views.progress import count_bar

    chosen = scenario_for(scenario, processor, no_limit=no_limit)
    own: dict[str, Any] = {"processor": processor, "shared": shared, "invariants": invariants}
    metrics = {name: _metric(name) for name in measured}
    if empty := [path for path, values in axes.items() if not len(values)]:
        raise ValueError(f"the axis {empty[0]!r} has no values")
    drawn = range(chosen.seed, chosen.seed + seeds) if isinstance(seeds, int) else seeds
    if not no_limit:
        _refuse_too_large(chosen, axes, len(drawn))
    combinations = list(itertools.product(*axes.values(), drawn))
    rows = []
    with count_bar(len(combinations), chosen.name, progress) as report:
        for *values, seed in combinations:
            changes = dict(zip(axes, values, strict=True))
            result = run(vary(chosen, changes), seed=seed, progress=False, no_limit=no_limit, **own)
            found = {name: measure(result, *metric) for name, metric in metrics.items()}
            rows.append({**changes, "seed": seed, **found, "ok": result.ok})
            if report is not None:
                report(len(rows), len(combinations))
    return SweepFrame(pd.DataFrame(rows, columns=[*axes, "seed", *metrics, "ok"]))


EXAMINED = 500
"""Combinations whose effort is estimated one by one; of more of them, this many are estimated, evenly spread."""
RUN = 2e-3
"""Seconds for a run of next to nothing, at least; measured: 4 milliseconds."""


def _refuse_too_large(scenario: Scenario, axes: Mapping[str, Sequence[Any]], seeds: int) -> None:
    """Raise TooLargeError if all runs together, or one of those examined, would take too long or too much memory."""
    combinations = math.prod(len(values) for values in axes.values())
    refuse_many(combinations * seeds, RUN, "runs")
    examined = [*range(0, combinations, -(-combinations // EXAMINED))]
    seconds = 0.0
    for i in examined:
        changed = vary(scenario, _combination(axes, i))
        refuse_too_large(changed)
        seconds += effort(changed).seconds
    refuse_many(combinations * seeds, RUN + seconds / len(examined), "runs")


def _combination(axes: Mapping[str, Sequence[Any]], i: int) -> dict[str, Any]:
    """The i-th combination of values, in no matter which order."""
    chosen = {}
    for path, values in axes.items():
        i, place = divmod(i, len(values))
        chosen[path] = values[place]
    return chosen


def _metric(name: str) -> tuple[str, str | None]:
    metric, _, statistic = name.partition(".")
    check_metric(metric, statistic or None)
    return metric, statistic or None


# -- The frame of a sweep, with a view of its own in notebooks


class SweepFrame(pd.DataFrame):
    """A row a run, shown in a notebook with units and four digits. What is taken out of it is plain pandas."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        head = [f"{name}, {unit}" if (unit := unit_of(str(name))) else str(name) for name in self.columns]
        return html_table(head, self.astype(object).itertuples(index=False))


def unit_of(column: str) -> str:
    """Unit of a metric's column; "" if it has none."""
    metric = METRICS.get(column.partition(".")[0])
    return metric.unit if metric is not None and metric.unit in ("s", "1/s") else ""
