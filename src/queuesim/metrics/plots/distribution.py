"""The distribution of waiting and latency, with the slowest jobs drawn large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from queuesim.metrics.plots import canvas
from queuesim.metrics.text import counted, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result

Values = npt.NDArray[np.float64]

MARKED = (50.0, 95.0, 99.0)
TICKS = (0.0, 50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999)


def latency_distribution(result: Result, ax: Axes | None) -> Axes:
    """See `Plots.latency_distribution`."""
    ax = canvas.axes(ax)
    jobs = result.jobs[~result.jobs["warmup"].to_numpy() & result.jobs["finished"].notna().to_numpy()]
    if not len(jobs):
        return canvas.nothing(ax, "no job finished")
    waiting, latency = jobs["waiting"].to_numpy(), jobs["latency"].to_numpy()
    waiting = waiting[~np.isnan(waiting)]
    both = np.concatenate((waiting, latency))
    floor, smallest = _floor(both), float(both.min())
    top = min(max(99.9, 100 - 100 / len(jobs)), TICKS[-1])
    ax.set_xscale("log")
    canvas.log_axis(ax.xaxis)
    _curve(ax, latency, floor, top, canvas.BLUE, "o-", "latency: schedule to finish")
    if len(waiting):
        _curve(ax, waiting, floor, top, canvas.ORANGE, "s--", "waiting for the first start")
    _percent_axis(ax, top)
    ax.set_xlabel("seconds" + (f" (at the left edge: {readable(floor)} or less)" if smallest < floor else ""))
    ax.set_ylabel("share of jobs that took at most so long")
    ax.legend(loc="upper left", fontsize="small")
    p95 = float(np.percentile(latency, 95))
    canvas.finish(ax, f"{counted(len(jobs), 'job')} finished; 95 % took at most {readable(p95)}")
    return ax


def _floor(values: Values) -> float:
    """The smallest duration that a logarithmic axis shows: what is below it counts as no time."""
    above = values[values > 0]
    if not len(above):
        return 1e-3
    lowest, highest = float(above.min()) / 1.5, float(above.max())
    return min(max(lowest, highest / 1e6), highest / 20)


def _tail(percent: Values | float) -> Values:
    """Height of a percentile: the same step from 90 % to 99 % as from 99 % to 99.9 %."""
    return np.asarray(-np.log10(1 - np.asarray(percent) / 100))


def _curve(ax: Axes, values: Values, floor: float, top: float, color: str, style: str, name: str) -> None:
    marker, line = style[0], style[1:]
    heights = np.linspace(0, float(_tail(top)), 600)
    percents = 100 * (1 - 10**-heights)
    ax.plot(np.maximum(np.percentile(values, percents), floor), heights, line, color=color, linewidth=1.8)
    marked = np.percentile(values, MARKED)
    fill = "none" if marker == "s" else "full"
    told = ", ".join(f"p{percent:g} {readable(float(value))}" for percent, value in zip(MARKED, marked, strict=True))
    ax.plot(
        np.maximum(marked, floor),
        _tail(np.array(MARKED)),
        marker,
        color=color,
        fillstyle=fill,
        markersize=8,
        label=f"{name}: {told}",
    )


def _percent_axis(ax: Axes, top: float) -> None:
    shown = [tick for tick in TICKS if tick <= top + 1e-9]
    ax.set_yticks([float(_tail(tick)) for tick in shown], [f"{tick:g} %" for tick in shown])
    ax.set_ylim(0, float(_tail(top)) * 1.03)
