"""HTML views of a result: a report as one self-contained page, light and dark, and what a notebook shows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from queuesim.extras import need
from queuesim.results.analysis import Analysis
from queuesim.results.levels import bin_width
from queuesim.results.markup import fill
from queuesim.results.plots import Plots
from queuesim.results.plots.style import literal
from queuesim.results.summary import Run
from queuesim.results.timeline import timeline
from queuesim.results.views import digest
from queuesim.text import brief, percent, rate, readable

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 360, 48
"""Of a curve in a notebook, in pixels."""
BINS = 120
"""Bins of a curve in a notebook."""


def page(result: Run, command: str = "") -> str:
    """A report as a page that asks for nothing from outside, and names the command that made it, if it is given.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    facts = result.facts
    drawn = list(pictures(result)) if len(result.jobs) and facts.duration > 0 else []
    said, faults = _said(result), _faults(result)
    links = [
        ("checks", "Checks"),
        *([("errors", "Top errors")] if said["errors"][1] else []),
        ("jobs", "Jobs"),
        *((anchor, title) for anchor, title, _ in drawn),
        *([("faults", "Faults")] if faults else []),
        ("details", "Details"),
    ]
    return fill(
        "report.html",
        **said,
        name=facts.scenario,
        stopped=facts.stopped,
        links=links,
        tiles=_tiles(result),
        drawn=drawn,
        faults=faults,
        details=_details(result, command),
    )


def to_html(result: Run) -> str:
    """The notebook's view, which needs no matplotlib: what the report says, with two small curves."""
    said = _said(result)
    said["tables"] = [((), digest.totals(result)), *said["tables"]]
    return fill("notebook.html", **said, curves=_curves(result), width=WIDTH, height=HEIGHT)


def _said(result: Run) -> dict[str, Any]:
    """What both views say."""
    return {
        "status": digest.verdict_status(result),
        "verdict": digest.verdict(result),
        "headline": digest.headline(result),
        "origin": digest.origin(result),
        "tables": [(digest.COUNTS, digest.counts(result)), (digest.TIMES, digest.times(result))],
        "notes": [line for line in (*digest.outcomes(result), digest.limiter(result)) if line],
        "errors": (digest.ERRORS, digest.errors(result)),
        "checks": digest.checks(result),
    }


def _tiles(result: Run) -> list[tuple[str, str, str]]:
    summary = result.summary()
    jobs = summary.jobs
    cost = Analysis(result).limiter()
    tiles = [
        ("completed", f"{jobs.completed:,}", f"of {jobs.added:,} jobs"),
        ("success rate", percent(jobs.success_rate), f"{jobs.failed:,} failed for good"),
        ("latency p95", brief(jobs.latency.p95), f"p50 {brief(jobs.latency.p50)}, p99 {brief(jobs.latency.p99)}"),
        ("throughput", rate(summary.throughput), f"utilisation {percent(summary.utilisation)}"),
        ("highest backlog", f"{summary.backlog_max:,}", f"{summary.backlog_end:,} at the end"),
        ("attempts per job", _plain(jobs.retry_amplification), f"{jobs.retries:,} retries"),
    ]
    if cost is not None:
        tiles.append(("limiter shut", readable(cost.shut), f"{cost.full:,} of {cost.windows:,} windows used up"))
    drain = Analysis(result).time_to_drain()
    if drain > 0:
        tiles.append(("time to drain", readable(drain), "from the highest backlog on"))
    return tiles


def _plain(number: float) -> str:
    return "–" if number != number else f"{number:.3g}"


def _faults(result: Run) -> list[tuple[str, ...]]:
    faults = result.faults
    return [
        (
            str(kind),
            str(target),
            readable(began),
            "still on" if ended != ended else readable(ended - began),
            str(detail),
        )
        for kind, target, began, ended, detail in faults[["fault", "target", "began", "ended", "detail"]].itertuples(
            index=False, name=None
        )
    ]


def _details(result: Run, command: str) -> list[tuple[str, str]]:
    facts = result.facts
    limiter = "none" if facts.limiter is None else f"{facts.limiter[0]} per {readable(facts.limiter[1])}"
    return [
        ("scenario", facts.scenario),
        ("backend", facts.backend),
        ("seed", str(facts.seed)),
        ("duration", f"{readable(facts.duration)}, of which {readable(facts.warmup)} warm-up"),
        ("workers", f"{facts.workers}, {facts.concurrency} slots in all"),
        ("limiter", limiter),
        *([("allowed to reach", ", ".join(facts.allow_io))] if facts.allow_io else []),
        ("played in", readable(facts.wall)),
        *([("played by", engine)] if (engine := digest.engine(result)) else []),
        ("queuesim", facts.version or "unknown"),
        *([("made by", command)] if command else []),
        *digest.totals(result),
    ]


def _curves(result: Run) -> list[tuple[str, str, str]]:
    """Backlog and throughput over time: the points of each curve, its colour and its caption."""
    duration = result.facts.duration
    if not (len(result.jobs) and duration > 0):
        return []
    width = bin_width(duration, BINS)
    bins = timeline(result, width)
    backlog, throughput = bins["backlog"].tolist(), bins["throughput"].tolist()
    every = f"averages over {readable(width)}{', warm-up included' if result.facts.warmup else ''}"
    return [
        (_points(backlog), "#E69F00", f"backlog, {every}, the highest {max(backlog):,.3g}"),
        (_points(throughput), "#0072B2", f"throughput, {every}, the highest {rate(max(throughput))}"),
    ]


def _points(values: Sequence[float]) -> str:
    """A curve whose highest value touches the top."""
    top = max(values) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{place * step:.1f},{HEIGHT - value / top * (HEIGHT - 2):.1f}" for place, value in enumerate(values)
    )


PICTURE = (4.8, 3.4)
"""Inches of a plot in a report: so narrow that its text is legible where it is shrunk to the width of a phone."""
INK, PAPER = "#1a1c1f", "#fefefd"
"""Colours that only text and grounds have, so that they differ from those of curves and can follow the theme."""

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


def pictures(result: Run) -> Iterator[tuple[str, str, Markup]]:
    """Each plot that has something to show: its anchor, its title and the SVG."""
    from markupsafe import Markup

    plot = Plots(result)
    wanted: list[tuple[str, str, bool, Draw]] = [
        ("throughput", "Throughput against load and limit", True, plot.throughput),
        ("backlog", "Backlog", True, plot.backlog),
        ("latency", "Latency over time", True, plot.latency_over_time),
        ("distribution", "Waiting and latency", True, plot.latency_distribution),
        ("attempts", "Attempts and how they ended", True, plot.attempts),
        ("retries", "What retries saved", bool((result.attempts["outcome"] == "retried").any()), plot.retry_waterfall),
        ("limiter", "Limiter windows", len(result.limiter) > 0, plot.limiter_windows),
        ("batches", "Batches", bool(len(result.overdue) or len(Analysis(result).batches())), plot.overdue_batches),
        ("slots", "Workers and slots", True, plot.gantt),
    ]
    for anchor, title, there, draw in wanted:
        if there:
            yield anchor, title, Markup(svg(draw, title, anchor))


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
        figure = Figure(figsize=PICTURE, layout="constrained")
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
