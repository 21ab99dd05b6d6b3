"""The page: a result as one self-contained HTML file, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from queuesim.extras import need
from queuesim.results.analysis import Analysis
from queuesim.results.levels import bin_width
from queuesim.results.plots import Plots
from queuesim.results.plots.style import literal
from queuesim.results.summary import Run
from queuesim.results.timeline import timeline
from queuesim.results.views import digest
from queuesim.text import as_html, brief, percent, rate, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# -- Pictures of a report: the plots as SVG in the text of a page, in colours that follow the page's theme

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


def pictures(result: Run) -> Iterator[tuple[str, str, str]]:
    """Each plot that has something to show: its anchor, its title and the SVG."""
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


MARKS = {"passed": ("✓", "good"), "failed": ("✗", "bad"), "not judged": ("–", "unjudged")}
"""For each status of a check: its mark and its class."""


def page(result: Run, command: str = "") -> str:
    """The whole file. It asks for nothing from outside, and names the command that made it, if it is given.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    facts = result.facts
    drawn = list(pictures(result)) if len(result.jobs) and facts.duration > 0 else []
    links = [
        ("checks", "Checks"),
        *([("errors", "Top errors")] if digest.top_errors(result) else []),
        ("jobs", "Jobs"),
        *((anchor, title) for anchor, title, _ in drawn),
    ]
    links += [("faults", "Faults")] if len(result.faults) else []
    links += [("details", "Details")]
    body = [
        _header(result),
        f'<nav aria-label="Sections">{"".join(f"<a href=#{a}>{as_html(title)}</a>" for a, title in links)}</nav>',
        _tiles(result),
        _checks(result),
        _errors(result),
        _section("jobs", "Jobs by type", _tables(result)),
        *(_section(anchor, title, f"<figure>{svg}</figure>") for anchor, title, svg in drawn),
        _faults(result),
        _details(result, command),
    ]
    sources = files("queuesim.results.views")
    style, script = (sources.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{as_html(facts.scenario)} · queuesim</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(part for part in body if part)}\n</main>\n"
        f"<script>\n{script}</script>\n</body>\n"
        "</html>\n"
    )


def _header(result: Run) -> str:
    sign, style = MARKS[digest.verdict_status(result)]
    return (
        '<header><div class="top"><p class="kicker">queuesim report</p>'
        '<button id="theme" type="button" aria-label="Light or dark">◐</button></div>'
        f'<h1>{as_html(result.facts.scenario)}</h1><p class="verdict {style}">'
        f"{sign} {as_html(digest.verdict(result))}</p>"
        f'<p class="lead">{as_html(digest.headline(result))}</p>'
        f'<p class="dim">{as_html(digest.origin(result))}</p></header>'
    )


def _tiles(result: Run) -> str:
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
    cells = (
        f'<div class="tile"><span>{as_html(name)}</span><strong>{as_html(value)}</strong>'
        f"<small>{as_html(note)}</small></div>"
        for name, value, note in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _plain(number: float) -> str:
    return "–" if number != number else f"{number:.3g}"


def _checks(result: Run) -> str:
    lines = digest.checks(result)
    stopped = result.facts.stopped
    items = [f'<li class="bad">✗ the run was stopped early: {as_html(str(stopped))}</li>'] if stopped else []
    items += [
        f'<li class="{MARKS[line.status][1]}">{MARKS[line.status][0]} <span>{as_html(line.text)}</span></li>'
        for line in lines
    ]
    return _section("checks", "Checks", f'<ul class="checks">{"".join(items)}</ul>' if items else "<p>None.</p>")


def _errors(result: Run) -> str:
    rows = digest.errors(result)
    return _section("errors", "Top errors", _table(digest.ERRORS, rows)) if rows else ""


def _tables(result: Run) -> str:
    tables = [
        _table(heads, rows)
        for heads, rows in ((digest.COUNTS, digest.counts(result)), (digest.TIMES, digest.times(result)))
        if rows
    ]
    lines = [*digest.outcomes(result), digest.limiter(result)]
    return "".join(tables) + "".join(f'<p class="dim">{as_html(line)}</p>' for line in lines if line)


def _faults(result: Run) -> str:
    faults = result.faults
    if not len(faults):
        return ""
    rows = [
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
    return _section("faults", "Faults", _table(("fault", "target", "at", "for", "detail"), rows))


def _details(result: Run, command: str) -> str:
    facts = result.facts
    limiter = "none" if facts.limiter is None else f"{facts.limiter[0]} per {readable(facts.limiter[1])}"
    rows = [
        ("scenario", facts.scenario),
        ("backend", facts.backend),
        ("seed", str(facts.seed)),
        ("duration", f"{readable(facts.duration)}, of which {readable(facts.warmup)} warm-up"),
        ("workers", f"{facts.workers}, {facts.concurrency} slots in all"),
        ("limiter", limiter),
        *([("allowed to reach", ", ".join(facts.allow_io))] if facts.allow_io else []),
        ("played in", readable(facts.wall)),
        ("queuesim", facts.version or "unknown"),
        *([("made by", command)] if command else []),
    ]
    return _section("details", "Details", _table((), [*rows, *digest.totals(result)]))


def _section(anchor: str, title: str, content: str) -> str:
    return f'<section id="{anchor}"><h2>{as_html(title)}</h2>{content}</section>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{as_html(title)}</th>' for title in heads)
    body = "".join(f"<tr>{''.join(f'<td>{as_html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    head = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    kind = "" if titles else ' class="pairs"'
    return f'<div class="scroll"><table{kind}>{head}<tbody>{body}</tbody></table></div>'


# -- The notebook's view of a result: HTML with a small picture, without matplotlib

WIDTH, HEIGHT = 360, 48
BINS = 120


def to_html(result: Run) -> str:
    """What was run, what happened, sparklines, totals, a table by job name, the limiter and the checks."""
    lines = [*digest.outcomes(result), digest.limiter(result)]
    parts = [
        _verdict(result),
        f"<p><b>{as_html(digest.headline(result))}</b><br><small>{as_html(digest.origin(result))}</small></p>",
        _sparklines(result),
        _notebook_table(digest.totals(result)),
        _notebook_table(digest.counts(result), head=digest.COUNTS),
        _notebook_table(digest.times(result), head=digest.TIMES),
        "".join(f"<div>{as_html(line)}</div>" for line in lines if line),
        _notebook_table(digest.errors(result), head=digest.ERRORS),
        _notebook_checks(result),
    ]
    return f'<div class="queuesim-result">{"".join(parts)}</div>'


def _notebook_table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    rows = list(rows)
    if not rows:
        return ""
    titles = "".join(f"<th>{as_html(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{as_html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{titles}</tr></thead>' if titles else ''}<tbody>{body}</tbody></table>"


NOTEBOOK_MARKS = {"passed": ("✓", "#007a5a"), "failed": ("✗", "#b34700"), "not judged": ("–", "#666666")}
"""For each status: its mark and colour."""


def _verdict(result: Run) -> str:
    sign, color = NOTEBOOK_MARKS[digest.verdict_status(result)]
    return f'<p style="color: {color}">{sign} {as_html(digest.verdict(result))}</p>'


def _notebook_checks(result: Run) -> str:
    lines = digest.checks(result)
    items = (
        f'<li style="list-style: none; color: {MARKS[line.status][1]}">'
        f"{MARKS[line.status][0]} {as_html(line.text)}</li>"
        for line in lines
    )
    return f'<ul style="padding-left: 0">{"".join(items)}</ul>' if lines else ""


def _sparklines(result: Run) -> str:
    duration = result.facts.duration
    if not (len(result.jobs) and duration > 0):
        return ""
    width = bin_width(duration, BINS)
    bins = timeline(result, width)
    backlog, throughput = bins["backlog"].tolist(), bins["throughput"].tolist()
    every = f"averages over {readable(width)}{', warm-up included' if result.facts.warmup else ''}"
    return "".join(
        f'<figure style="display: inline-block; margin: 0 1em 0 0">{_sparkline(values, color)}'
        f"<figcaption><small>{as_html(caption)}</small></figcaption></figure>"
        for values, color, caption in (
            (backlog, "#E69F00", f"backlog, {every}, the highest {max(backlog):,.3g}"),
            (throughput, "#0072B2", f"throughput, {every}, the highest {rate(max(throughput))}"),
        )
    )


def _sparkline(values: Sequence[float], color: str) -> str:
    """An area below a line; the highest value touches the top."""
    top = max(values) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{place * step:.1f},{HEIGHT - value / top * (HEIGHT - 2):.1f}" for place, value in enumerate(values)
    )
    return (
        f'<svg role="img" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<polygon points="0,{HEIGHT} {points} {WIDTH},{HEIGHT}" fill="{color}" fill-opacity="0.3"/>'
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/></svg>'
    )
