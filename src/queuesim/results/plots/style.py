"""The canvas: axes to draw on, colours, and axes of time and counts that read well."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from queuesim.extras import need
from queuesim.results.colors import BLUE as BLUE
from queuesim.results.colors import GREEN as GREEN
from queuesim.results.colors import GREY as GREY
from queuesim.results.colors import ORANGE as ORANGE
from queuesim.results.colors import PALE as PALE
from queuesim.results.colors import PINK as PINK
from queuesim.results.colors import RED as RED
from queuesim.results.colors import SKY as SKY
from queuesim.results.colors import YELLOW as YELLOW
from queuesim.results.fault_kinds import facts_of
from queuesim.results.summary import Run
from queuesim.text import shown_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


HATCHES = ("////", "\\\\\\\\", "xxxx", "....", "||||")
"""Of the kinds of faults that have one colour."""


def axes(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("matplotlib", "plot", "plots")
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(9, 5), layout="constrained")[1]


def literal(figure: Figure) -> None:
    """Draw all texts as they are: a "$" in a name begins no formula, and control characters are shown escaped."""
    from matplotlib.text import Text

    for ax in figure.axes:
        # makes the labels of ticks, which would otherwise be made when the figure is drawn
        ax.get_xticklabels()
        ax.get_yticklabels()
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
            if not text.get_text().isprintable():
                text.set_text(shown_lines(text.get_text()))


def nothing(ax: Axes, text: str) -> Axes:
    """Say that there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY, fontsize="large")
    return ax


def title(ax: Axes, text: str) -> None:
    """A title at the left. Its height is given: to find one, matplotlib would lay out all labels at every drawing."""
    ax.set_title(text, loc="left", y=1.0, fontsize="medium", fontweight="bold")


def log_axis(axis: Axis) -> None:
    """Label a logarithmic axis: its powers of ten as plain numbers, and ticks at twice and five times of them.

    Without the others of matplotlib's ticks, and its powers, which are typeset as formulas, an overview is drawn in two
    thirds of the time.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_formatter("{x:,.15g}")
    axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())


def whole_run(*results: Run) -> str:
    """What is added to a number of the whole run: whether the warm-up is part of it. All other numbers leave it out."""
    return " (warm-up included)" if any(result.facts.warmup for result in results) else ""


def finish(ax: Axes, text: str = "") -> None:
    """A title at the left, a faint grid, no box."""
    if text:
        title(ax, text)
    ax.grid(True, color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def time_unit(duration: float) -> tuple[float, str]:
    """Seconds in the unit that an axis over `duration` seconds is best labelled with, and its name."""
    if duration >= 2 * 86400:
        return 86400.0, "days"
    if duration >= 2 * 3600:
        return 3600.0, "h"
    return (60.0, "min") if duration >= 300 else (1.0, "s")


def rate_unit(per_second: float) -> tuple[float, str]:
    """Seconds in the unit of time in which a rate is a number of one or more, and its name."""
    if per_second >= 1:
        return 1.0, "s"
    return (60.0, "min") if per_second >= 1 / 60 else (3600.0, "h")


def duration_unit(seconds: float) -> tuple[float, str]:
    """Seconds in the unit in which a duration is a number of a few digits, and its name."""
    for size, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= 2 * size:
            return size, name
    return 0.001, "ms"


def shade(ax: Axes, result: Run, unit: float, start: float = 0.0, end: float = math.inf) -> None:
    """Shade the time that is not measured, and hatch each fault for as long as it was on, from `start` to `end`."""
    facts = result.facts
    if facts.warmup > start:
        ax.axvspan(0, facts.warmup / unit, color=PALE, alpha=0.5, linewidth=0, label="warm-up")
    faults = result.faults
    styles, seen = fault_styles(faults["fault"].unique().tolist()), set()
    ends = faults["ended"].fillna(facts.duration)
    for fault, began, ended in zip(faults["fault"], faults["began"], ends, strict=True):
        if began > end or ended < start:
            continue
        label = None if fault in seen else str(fault)
        seen.add(fault)
        color, hatch = styles[fault]
        # a fault of a moment is a span without a width: its edge still shows
        ax.axvspan(
            began / unit, ended / unit, facecolor=(*to_rgb(color), 0.12), edgecolor=(*to_rgb(color), 0.55), hatch=hatch,
            linewidth=0.8, label=label, zorder=0,
        )  # fmt: skip


def fault_styles(kinds: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch of each kind of fault: each has a colour of its own family, and no hatch that another of that
    colour has."""
    hatches: dict[str, itertools.cycle[str]] = defaultdict(lambda: itertools.cycle(HATCHES))
    colors = {kind: facts_of(kind).color for kind in sorted(kinds)}
    return {kind: (color, next(hatches[color])) for kind, color in colors.items()}


def to_rgb(color: str) -> tuple[float, float, float]:
    """Red, green and blue of "#0072B2", each from 0 to 1."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def clock(seconds: float) -> str:
    """A moment of a run as hours, minutes and seconds: "3:20:07", "0:00:01.5"."""
    whole, part = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" + (f".{part:03}".rstrip("0") if part else "")


def time_axis(ax: Axes, result: Run, unit: float, label: str) -> None:
    """The whole run from left to right, with what is left out or went wrong shaded."""
    shade(ax, result, unit)
    ax.set_xlim(0, result.facts.duration / unit)
    ax.set_xlabel(label)


def legend(
    ax: Axes, where: Literal["upper left", "upper right"] = "upper left", columns: int = 4, line: float = 0.06
) -> None:
    """A legend, if there is anything to tell apart: an entry a label. The axes have room for its first line; for each
    further one, which takes this share of their height, they get more."""
    entries = {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if entries:
        ax.legend(entries.values(), entries.keys(), loc=where, fontsize="small", framealpha=0.8, ncols=columns)
        low, high = ax.get_ylim()
        ax.set_ylim(low, low + (high - low) * (1 + line * (math.ceil(len(entries) / columns) - 1)))
