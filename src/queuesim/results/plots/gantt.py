"""The Gantt chart: what each slot of each worker did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.metrics import meter
from queuesim.results.plots import style
from queuesim.results.summary import Run
from queuesim.text import counted, percent, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


MOST = 200
"""Attempts that a chart shows unless it gets a start or an end."""


def gantt(result: Run, ax: Axes | None, start: float | None, end: float | None) -> Axes:
    """See `Plots.gantt`."""
    ax = style.axes(ax)
    attempts = result.attempts[result.attempts["started"].notna()]
    if not len(attempts):
        return style.nothing(ax, "no job was started")
    start, end = _span(result, attempts, start, end)
    ends = attempts["ended"].fillna(result.facts.duration)
    there = attempts[(attempts["started"] <= end) & (ends >= start)]
    if not len(there):
        return style.nothing(ax, f"no attempt ran from {readable(start)} to {readable(end)}")
    lanes = attempts[["worker", "slot"]].drop_duplicates().sort_values(["worker", "slot"])
    place = {lane: row for row, lane in enumerate(lanes.itertuples(index=False, name=None))}
    _bars(ax, result, there, place, (end - start) / 500)
    # escaped here already: the labels of ticks are written anew at every drawing
    names = [f"{style.short(worker, 20)} · {slot}" for worker, slot in place]
    step = max(1, len(names) // 24)
    ax.set_yticks(range(0, len(names), step), names[::step], fontsize="small")
    ax.set_ylim(len(names) - 0.4, -0.6)
    style.shade(ax, result, 1.0, start, end)
    ax.set_xlim(start, end)
    ax.xaxis.set_major_formatter(lambda value, _: style.clock(value))
    ax.locator_params(axis="x", nbins=max(2, int(style.inches(ax)[0])))
    ax.set_xlabel("time since the start (h:min:s)")
    ax.set_ylabel("worker · slot")
    # of all slots, those that ran nothing included: the number that thresholds and the summary call utilisation
    busy = percent(meter(result, "utilisation")(start, end))
    slots = counted(result.facts.concurrency, "slot")
    style.finish(ax, f"{counted(len(there), 'attempt')} in {readable(end - start)}; {slots}, utilisation {busy}")
    ax.grid(False, axis="y")
    style.legend_below(ax)
    return ax


def _span(result: Run, attempts: pd.DataFrame, start: float | None, end: float | None) -> tuple[float, float]:
    """From when until when: what is asked for, or else around the moment when the most jobs waited."""
    duration = result.facts.duration
    starts = attempts["started"].to_numpy()
    if start is None and end is None and len(starts) > MOST:
        from queuesim.results.levels import backlog

        busiest = backlog(result).extreme(0.0, duration)[1]
        first = int(np.clip(np.searchsorted(starts, busiest) - MOST // 10, 0, len(starts) - MOST))
        # of attempts long before, that ran when few jobs were there, the chart would be empty
        begin = max(starts[first], busiest - (starts[first + MOST - 1] - busiest) / 4)
        start, end = float(begin), float(starts[first + MOST - 1])
    start = 0.0 if start is None else start
    end = duration if end is None else end
    if start > end or (start == end and duration > 0):
        raise ValueError(f"a chart from {start:g} s to {end:g} s shows nothing")
    return start, max(end, start + 1e-9)


def _bars(ax: Axes, result: Run, shown: pd.DataFrame, place: dict[tuple[str, int], int], least: float) -> None:
    """A bar an attempt, `least` seconds wide or more: what is shorter would not be seen."""
    rows = np.array([place[lane] for lane in zip(shown["worker"], shown["slot"], strict=True)])
    begins = shown["started"].to_numpy()
    widths = np.maximum(shown["ended"].fillna(result.facts.duration).to_numpy() - begins, least)
    # each category keeps its colour, whether its attempts were retried or failed for good
    kinds = shown["outcome"].astype(str).where(shown["category"].isna(), shown["category"].astype(str)).to_numpy()
    failed = (shown["outcome"] == "failed").to_numpy()
    errors = style.error_colors(result)
    shades = {**style.OUTCOMES, **errors}
    for kind in dict.fromkeys([*style.OUTCOMES, *errors]):
        for final in (False, True):
            chosen = (kinds == kind) & (failed == final)
            if chosen.any():
                ax.barh(
                    rows[chosen], widths[chosen], 0.8, left=begins[chosen], facecolor=shades[kind],
                    hatch="////" if final else None, edgecolor="#00000055", linewidth=0.3,
                    label=_label(kind, final, kind in errors),
                )  # fmt: skip


def _label(kind: str, final: bool, error: bool) -> str:
    return f"{style.short(kind)}{' error' if error else ''}{', failed for good' if final else ''}"
