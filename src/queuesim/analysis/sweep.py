"""Sweeps: a scenario over every combination of some values, a row of measurements for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from queuesim.metrics.metric import check_metric, measure
from queuesim.scenario.runner import Source, as_scenario, run
from queuesim.scenario.variation import vary

if TYPE_CHECKING:
    import pandas as pd

MEASURED = ("latency.p95", "waiting.p95", "backlog.max", "utilisation", "throughput")
"""What is measured unless something else is asked for."""


def sweep(
    scenario: Source,
    axes: Mapping[str, Sequence[Any]],
    measured: Sequence[str] = MEASURED,
    *,
    seeds: int | Sequence[int] = 1,
    progress: Callable[[int, int], None] | bool | None = None,
) -> pd.DataFrame:
    """Play a scenario with every combination of values, and measure each run.

    Args:
        axes: paths of the scenario, as `vary` takes them, each with the values to try; ``load`` multiplies the load.
        measured: metrics as thresholds name them, with the statistic after a dot: ``latency.p95``, ``throughput``.
        seeds: how many to play each combination with, from the scenario's own on, or which.
        progress: called with the runs done and how many there are; True for a bar, None for one in a notebook.

    Returns:
        A frame with a row a run: a column for each axis, `seed`, one for each metric (times in seconds), and `ok`.

    Raises:
        ValueError: there is no such metric or path, a value can't be there, or an axis has no values.
    """
    import pandas as pd

    from queuesim.analysis.table import SweepFrame
    from queuesim.metrics.progress import count_bar

    chosen = as_scenario(scenario)
    metrics = {name: _metric(name) for name in measured}
    if empty := [path for path, values in axes.items() if not len(values)]:
        raise ValueError(f"the axis {empty[0]!r} has no values")
    drawn = [chosen.seed + i for i in range(seeds)] if isinstance(seeds, int) else list(seeds)
    combinations = list(itertools.product(*axes.values(), drawn))
    rows = []
    with count_bar(len(combinations), chosen.name, progress) as tell:
        for *values, seed in combinations:
            changes = dict(zip(axes, values, strict=True))
            result = run(vary(chosen, changes), seed=seed, progress=False)
            found = {name: measure(result, *metric) for name, metric in metrics.items()}
            rows.append({**changes, "seed": seed, **found, "ok": result.ok})
            tell(len(rows), len(combinations))
    return SweepFrame(pd.DataFrame(rows, columns=[*axes, "seed", *metrics, "ok"]))


def _metric(name: str) -> tuple[str, str | None]:
    metric, _, statistic = name.partition(".")
    check_metric(metric, statistic or None)
    return metric, statistic or None
