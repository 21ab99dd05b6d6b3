"""Pictures of a report: the plots as SVG in the text of a page, in colours that follow the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from queuesim.extras import need
from queuesim.metrics.plots.canvas import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result

INK, PAPER = "#1a1c1f", "#fefefd"
"""Colours that only text and grounds have, so that they can be told from the curves' and follow the theme."""

THEMED = {
    INK: "var(--ink)",
    PAPER: "var(--card)",
    "#dddddd": "var(--line)",
    "#6b6b6b": "var(--dim)",
    "#000000": "var(--ink)",
    "#ffffff": "var(--card)",
    "#0072b2": "var(--blue)",
}

Draw = Callable[["Axes"], object]


def pictures(result: Result) -> Iterator[tuple[str, str, str]]:
    """Each plot that has something to show: its anchor, its title and the SVG."""
    plot = result.plot
    wanted: list[tuple[str, str, bool, Draw]] = [
        ("throughput", "Throughput against load and limit", True, plot.throughput),
        ("backlog", "Backlog", True, plot.backlog),
        ("latency", "Latency over time", True, plot.latency_over_time),
        ("distribution", "Waiting and latency", True, plot.latency_distribution),
        ("attempts", "Attempts and how they ended", True, plot.attempts),
        ("retries", "What retries saved", bool((result.attempts["outcome"] == "retried").any()), plot.retry_waterfall),
        ("limiter", "Limiter windows", len(result.limiter) > 0, plot.limiter_windows),
        ("batches", "Batches", bool(len(result.overdue) or len(result.analysis.batches())), plot.overdue_batches),
        ("slots", "Workers and slots", True, plot.gantt),
    ]
    for anchor, title, there, draw in wanted:
        if there:
            yield anchor, title, svg(draw, title, anchor)


def svg(draw: Draw, title: str, anchor: str) -> str:
    """A plot as an element of a page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    need("matplotlib", "plot", "reports as pages")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), PAPER),
        "legend.edgecolor": "none",
        "svg.hashsalt": anchor,
        "hatch.linewidth": 0.5,
    }
    with rc_context(style):
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        draw(figure.subplots())
        literal(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(buffer.getvalue(), title, anchor)


def _embedded(text: str, title: str, anchor: str) -> str:
    """What a page needs of an SVG file: no prologue, names of its own, colours of the theme."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{anchor}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{anchor}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{anchor}-\1"', text)
    for color, variable in THEMED.items():
        text = re.sub(rf"{color}\b", variable, text, flags=re.IGNORECASE)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
