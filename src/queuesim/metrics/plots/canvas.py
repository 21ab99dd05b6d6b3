"""The canvas: axes to draw on, colours, and axes of time and counts that read well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
"""Colours that colour-blind people tell apart (Okabe and Ito, Color Universal Design, 2008)."""

GREY, PALE = "#6B6B6B", "#DDDDDD"


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


def nothing(ax: Axes, text: str) -> Axes:
    """Say that there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY, fontsize="large")
    return ax


def finish(ax: Axes, title: str = "") -> None:
    """A title at the left, a faint grid, no box."""
    if title:
        ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
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


def show_warmup(ax: Axes, warmup: float, unit: float) -> None:
    """Shade the time that is not measured."""
    if warmup > 0:
        ax.axvspan(0, warmup / unit, color=PALE, alpha=0.5, linewidth=0, label="warm-up")
