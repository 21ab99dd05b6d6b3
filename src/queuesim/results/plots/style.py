"""The canvas: axes to draw on, colours, and axes of time, durations and counts that read well."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from queuesim.extras import need
from queuesim.results.fault_kinds import BLUE, GREEN, GREY, ORANGE, PALE, PINK, RED, SKY, YELLOW, facts_of
from queuesim.results.levels import Array
from queuesim.results.summary import Run
from queuesim.text import shown, shown_lines

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SIZE = (7.2, 4.4)
"""Inches of a figure of one plot: its text stays legible where a page shrinks it to the width of a phone."""
OUTCOMES = {"ok": "#9BD3BF", "rate-limited": SKY, "delayed": PINK, "lost": YELLOW, "unfinished": GREY}
"""Colours of attempts without an error: those that went well are pale, so that the others stand out."""
ERRORS = (BLUE, ORANGE, PINK, RED, SKY, YELLOW, GREY)
"""Colours of the categories of errors, by how frequent they are."""
CURVES = (BLUE, ORANGE, GREEN, RED, PINK, SKY)
LINES = ("-", "--", "-.", ":")
HATCHES = ("////", "\\\\\\\\", "xxxx", "....", "||||")
"""Of the kinds of faults that have one colour."""
BURST = 6.0
"""An axis is cut off below a peak that is so many times as high as nineteen of twenty values."""


def axes(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("matplotlib", "plot", "plots")
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=SIZE, layout="constrained")[1]


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


def inches(ax: Axes) -> tuple[float, float]:
    """About how wide and high the axes will be drawn."""
    place, figure = ax.get_position(), ax.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    return float(figure.get_figwidth() * place.width), float(figure.get_figheight() * place.height)


def title(ax: Axes, text: str) -> None:
    """A title at the left, as wide as the axes. Its height is given: to find one, matplotlib would lay out all labels
    at every drawing."""
    # a name, as that of a metric, keeps its own letters
    text = f"{text[:1].upper()}{text[1:]}" if text.partition(" ")[0].isalpha() else text
    # a number stays with its unit
    text = re.sub(r"(?<=\d) (?=(?:ms|s|min|h|d|%)\b|%)", "\xa0", text)
    text = textwrap.fill(text, max(24, int(12.5 * inches(ax)[0])), break_long_words=False)
    ax.set_title(text.replace("\xa0", " "), loc="left", y=1.0, fontsize="medium", fontweight="bold")


def log_axis(axis: Axis) -> None:
    """Label a logarithmic axis: its powers of ten as plain numbers, and ticks at twice and five times of them.

    Without the others of matplotlib's ticks, and its powers, which are typeset as formulas, an overview is drawn in two
    thirds of the time.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_formatter("{x:,.15g}")
    axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())


def short(name: str, most: int = 30) -> str:
    """A user's name as a label that leaves room for the picture."""
    name = shown(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


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


def top_of(values: Array, least: float = 0.0) -> float:
    """Up to where an axis shows these values: all of them, but of one burst only the beginning, so that it does not
    flatten everything else. What is usually below `least` is not worth that."""
    known = values[np.isfinite(values)]
    highest = float(known.max()) if len(known) else 0.0
    usual = float(np.quantile(known[known > 0], 0.95)) if highest > 0 else 0.0
    return 2 * usual if highest > BURST * usual > BURST * least else highest


def mark_peak(ax: Axes, x: float, height: float, text: str) -> None:
    """Name the highest value at its point, or at the upper edge where the axis is cut off below it."""
    (left, right), top = ax.get_xlim(), ax.get_ylim()[1]
    late = x > left + 0.6 * (right - left)
    cut = height > top
    if not cut:
        ax.plot([x], [height], "o", color="black", markersize=4, zorder=4)
    text = f"{text} ▲" if cut and late else f"▲ {text}" if cut else text
    ax.annotate(
        text, (x, min(height, top * 0.92)), (-6 if late else 6, 0 if cut else 3), textcoords="offset points",
        ha="right" if late else "left", va="center" if cut else "bottom", fontsize="small",
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def legend_below(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """A legend below the axes, as wide as they are, of what has a label, or of `handles`."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    width, height = inches(ax)
    letters = max((len(str(handle.get_label())) for handle in handles), default=0) + 5
    columns = max(1, min(len(handles), int(width * 13 / letters)))
    place = (0.0, -0.5 / height)
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=place, fontsize="small", frameon=False, ncols=columns)


def end_labels(ax: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
    """Name curves right of the axes, at the height where each ends: (height, name, colour). Names keep a distance."""
    low, high = ax.get_ylim()
    line, place = 0.16 / inches(ax)[1], -math.inf
    found = []
    for height, name, color in sorted(labels):
        own = line * (name.count("\n") + 1)
        place = max(place, (height - low) / (high - low) - own / 2)
        found.append((place + own / 2, name, color))
        place += own
    over = max(0.0, place - 1.0)
    for middle, name, color in found:
        ax.text(1.01, middle - over, name, transform=ax.transAxes, va="center", color=darker(color), fontsize="small")


def shade(
    ax: Axes, result: Run, unit: float, start: float = 0.0, end: float = math.inf
) -> list[tuple[float, float, str]]:
    """Shade the time that is not measured, and hatch each fault for as long as it was on, from `start` to `end`.

    Returns the first span of each label.
    """
    facts = result.facts
    named: dict[str, tuple[float, float, str]] = {}
    if facts.warmup > start:
        ax.axvspan(0, facts.warmup / unit, color=PALE, alpha=0.5, linewidth=0, label="warm-up")
        named["warm-up"] = (0.0, facts.warmup / unit, "warm-up")
    faults = result.faults
    styles = fault_styles(faults["fault"].unique().tolist())
    ends = faults["ended"].fillna(facts.duration)
    for fault, began, ended in zip(faults["fault"].astype(str), faults["began"], ends, strict=True):
        if began > end or ended < start:
            continue
        color, hatch = styles[fault]
        # a fault of a moment is a span without a width: its edge still shows
        ax.axvspan(
            began / unit, ended / unit, facecolor=(*to_rgb(color), 0.12), edgecolor=(*to_rgb(color), 0.55), hatch=hatch,
            linewidth=0.8, label=None if fault in named else fault, zorder=0,
        )  # fmt: skip
        named.setdefault(fault, (began / unit, ended / unit, fault))
    return list(named.values())


def name_spans(ax: Axes, spans: Iterable[tuple[float, float, str]]) -> None:
    """Name what is shaded, inside the upper edge of the axes, which are made higher by a line where names are close."""
    (left, right), (width, height) = ax.get_xlim(), inches(ax)
    letter, line = (right - left) * 0.07 / width, 0.15 / height
    rows: list[float] = []
    for begin, _, name in sorted(spans):
        name = shown(name)
        length = letter * (len(name) + 1)
        first = min(begin, right - length)
        row = next((row for row, taken in enumerate(rows) if taken <= first), len(rows))
        rows[row : row + 1] = [first + length]
        ax.text(
            first, 1 - line * (row + 0.55), f" {name}", transform=ax.get_xaxis_transform(), va="center",
            fontsize="x-small", bbox={"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(low, low + (high - low) / (1 - min(0.5, line * len(rows))))


def fault_styles(kinds: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch of each kind of fault: each has a colour of its own family, and no hatch that another of that
    colour has."""
    hatches: dict[str, itertools.cycle[str]] = defaultdict(lambda: itertools.cycle(HATCHES))
    colors = {kind: facts_of(kind).color for kind in sorted(kinds)}
    return {kind: (color, next(hatches[color])) for kind, color in colors.items()}


def error_colors(result: Run) -> dict[str, str]:
    """One colour a category of errors, the same in every plot, by how frequent they are."""
    counts = result.attempts["category"].value_counts()
    return dict(zip(map(str, counts.index[counts > 0]), itertools.cycle(ERRORS), strict=False))


def to_rgb(color: str) -> tuple[float, float, float]:
    """Red, green and blue of "#0072B2", each from 0 to 1."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def darker(color: str) -> tuple[float, float, float]:
    """The colour for text on white."""
    red, green, blue = (part * 0.75 for part in to_rgb(color))
    return red, green, blue


def clock(seconds: float) -> str:
    """A moment of a run as hours, minutes and seconds: "3:20:07", "0:00:01.5"."""
    whole, part = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" + (f".{part:03}".rstrip("0") if part else "")


def time_axis(ax: Axes, results: Sequence[Run], top: float, note: str = "") -> float:
    """The whole run from left to right, the longest of several, with what is left out or went wrong shaded and named;
    heights from 0 to above `top`. Returns the seconds of its unit."""
    duration = max(result.facts.duration for result in results)
    unit, name = time_unit(duration)
    ax.set_xlim(0, duration / unit)
    ax.set_ylim(0, top * 1.08 or 1.0)
    spans = [span for result in results for span in shade(ax, result, unit)]
    name_spans(ax, {name: (begin, end, name) for begin, end, name in reversed(spans)}.values())
    ax.set_xlabel(f"time since the start ({name}){note and f'; {note}'}")
    ax.yaxis.set_major_formatter("{x:,g}")
    return unit
