"""The Gantt chart: what each slot of each worker did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.results.metrics import meter
from queuesim.results.plots import style
from queuesim.results.plots.distributions import ERRORS, OUTCOMES
from queuesim.results.summary import Run
from queuesim.text import counted, percent, readable, shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


MOST = 400
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
    _bars(ax, result, there, place)
    # escaped here already: the labels of ticks are written anew at every drawing
    names = [shown(f"{worker} · {slot}") for worker, slot in place]
    step = max(1, len(names) // 24)
    ax.set_yticks(range(0, len(names), step), names[::step], fontsize="small")
    ax.set_ylim(len(names) - 0.4, -0.6)
    style.shade(ax, result, 1.0, start, end)
    ax.set_xlim(start, end)
    ax.xaxis.set_major_formatter(lambda value, _: style.clock(value))
    ax.set_xlabel("time since the start (h:min:s)")
    ax.set_ylabel("worker · slot")
    # of all slots, those that ran nothing included: the number that thresholds and the summary call utilisation
    busy = percent(meter(result, "utilisation")(start, end))
    slots = counted(result.facts.concurrency, "slot")
    style.finish(ax, f"{counted(len(there), 'attempt')} in {readable(end - start)}; {slots}, utilisation {busy}")
    ax.grid(False, axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
    return ax


def _span(result: Run, attempts: pd.DataFrame, start: float | None, end: float | None) -> tuple[float, float]:
    """From when until when: what is asked for, or else around the moment when the most jobs waited."""
    duration = result.facts.duration
    starts = attempts["started"].to_numpy()
    if start is None and end is None and len(starts) > MOST:
        from queuesim.results.levels import backlog

        busiest = backlog(result).extreme(0.0, duration)[1]
        first = int(np.clip(np.searchsorted(starts, busiest) - MOST // 2, 0, len(starts) - MOST))
        start, end = float(starts[first]), float(starts[first + MOST - 1])
    start = 0.0 if start is None else start
    end = duration if end is None else end
    if start > end or (start == end and duration > 0):
        raise ValueError(f"a chart from {start:g} s to {end:g} s shows nothing")
    return start, max(end, start + 1e-9)


def _bars(ax: Axes, result: Run, shown: pd.DataFrame, place: dict[tuple[str, int], int]) -> None:
    rows = np.array([place[lane] for lane in zip(shown["worker"], shown["slot"], strict=True)])
    begins = shown["started"].to_numpy()
    widths = shown["ended"].fillna(result.facts.duration).to_numpy() - begins
    # each category keeps its colour, whether its attempts were retried or failed for good
    kinds = shown["outcome"].astype(str).where(shown["category"].isna(), shown["category"].astype(str)).to_numpy()
    failed = (shown["outcome"] == "failed").to_numpy()
    errors = sorted({*result.attempts["category"].dropna().unique()})
    shades = {**OUTCOMES, **{name: ERRORS[i % len(ERRORS)] for i, name in enumerate(errors)}}
    for kind in dict.fromkeys([*OUTCOMES, *errors]):
        for final in (False, True):
            chosen = (kinds == kind) & (failed == final)
            if chosen.any():
                ax.barh(
                    rows[chosen], widths[chosen], 0.8, left=begins[chosen], color=shades[kind],
                    hatch="////" if final else None, edgecolor="white", linewidth=0.3,
                    label=f"{kind}, for good" if final else kind,
                )  # fmt: skip
