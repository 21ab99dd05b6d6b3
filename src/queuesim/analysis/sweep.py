"""Sweeps: a scenario over every combination of some values, a row of measurements for each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from queuesim.check.effort import effort, refuse_many, refuse_too_large
from queuesim.metrics.metric import check_metric, measure
from queuesim.scenario.runner import Source, as_scenario, run
from queuesim.scenario.variation import vary

if TYPE_CHECKING:
    import pandas as pd

    from queuesim.scenario.schema import Scenario

MEASURED = ("latency.p95", "waiting.p95", "backlog.max", "utilisation", "throughput")
"""What is measured unless something else is asked for."""


def sweep(
    scenario: Source,
    axes: Mapping[str, Sequence[Any]],
    measured: Sequence[str] = MEASURED,
    *,
    seeds: int | Sequence[int] = 1,
    progress: Callable[[int, int], None] | bool | None = None,
    no_limit: bool = False,
) -> pd.DataFrame:
    """Play a scenario with every combination of values, and measure each run.

    Args:
        axes: paths of the scenario, as `vary` takes them, each with the values to try; ``load`` multiplies the load.
        measured: metrics as thresholds name them, with the statistic after a dot: ``latency.p95``, ``throughput``.
        seeds: how many to play each combination with, from the scenario's own on, or which.
        progress: called with the runs done and how many there are; True for a bar, None for one in a notebook.
        no_limit: also play what takes more than a day in all, or a run that needs more than 64 GB of memory.

    Returns:
        A frame with a row a run: a column for each axis, `seed`, one for each metric (times in seconds), and `ok`.

    Raises:
        ValueError: there is no such metric or path, a value can't be there, or an axis has no values.
        TooLargeError: the runs would take more than a day, or one of them more than 64 GB of memory, at least.
    """
    import pandas as pd

    from queuesim.analysis.table import SweepFrame
    from queuesim.metrics.progress import count_bar

    chosen = as_scenario(scenario, no_limit=no_limit)
    metrics = {name: _metric(name) for name in measured}
    if empty := [path for path, values in axes.items() if not len(values)]:
        raise ValueError(f"the axis {empty[0]!r} has no values")
    drawn = range(chosen.seed, chosen.seed + seeds) if isinstance(seeds, int) else seeds
    if not no_limit:
        _refuse_too_large(chosen, axes, len(drawn))
    combinations = list(itertools.product(*axes.values(), drawn))
    rows = []
    with count_bar(len(combinations), chosen.name, progress) as tell:
        for *values, seed in combinations:
            changes = dict(zip(axes, values, strict=True))
            result = run(vary(chosen, changes), seed=seed, progress=False, no_limit=no_limit)
            found = {name: measure(result, *metric) for name, metric in metrics.items()}
            rows.append({**changes, "seed": seed, **found, "ok": result.ok})
            tell(len(rows), len(combinations))
    return SweepFrame(pd.DataFrame(rows, columns=[*axes, "seed", *metrics, "ok"]))


LOOKED_AT = 500
"""Combinations whose effort is estimated one by one; of more of them, this many are estimated, evenly spread."""
RUN = 2e-3
"""Seconds for a run of next to nothing, at least; measured: 4 milliseconds."""


def _refuse_too_large(scenario: Scenario, axes: Mapping[str, Sequence[Any]], seeds: int) -> None:
    """Raise TooLargeError if all runs together, or one of those looked at, would take too long or too much memory."""
    combinations = math.prod(len(values) for values in axes.values())
    refuse_many(combinations * seeds, RUN, "runs")
    looked_at = [*range(0, combinations, -(-combinations // LOOKED_AT))]
    seconds = 0.0
    for i in looked_at:
        changed = vary(scenario, _combination(axes, i))
        refuse_too_large(changed)
        seconds += effort(changed).seconds
    refuse_many(combinations * seeds, RUN + seconds / len(looked_at), "runs")


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
