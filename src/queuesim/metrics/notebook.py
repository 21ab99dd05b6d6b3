"""The notebook's view of a result: HTML with a small picture, without matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from queuesim.escaping import as_html
from queuesim.metrics import digest
from queuesim.metrics.bins import bin_width
from queuesim.metrics.text import rate, readable

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

WIDTH, HEIGHT = 360, 48
BINS = 120


def to_html(result: Result) -> str:
    """What was run, what happened, sparklines, totals, a table by job name, the limiter and the checks."""
    lines = [*digest.outcomes(result), digest.limiter(result)]
    parts = [
        _verdict(result),
        f"<p><b>{as_html(digest.headline(result))}</b><br><small>{as_html(digest.origin(result))}</small></p>",
        _sparklines(result),
        _table(digest.totals(result)),
        _table(digest.counts(result), head=digest.COUNTS),
        _table(digest.times(result), head=digest.TIMES),
        "".join(f"<div>{as_html(line)}</div>" for line in lines if line),
        _table(digest.errors(result), head=digest.ERRORS),
        _checks(result),
    ]
    return f'<div class="queuesim-result">{"".join(parts)}</div>'


def _table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    rows = list(rows)
    if not rows:
        return ""
    titles = "".join(f"<th>{as_html(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{as_html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{titles}</tr></thead>' if titles else ''}<tbody>{body}</tbody></table>"


MARKS = {"passed": ("✓", "#007a5a"), "failed": ("✗", "#b34700"), "not judged": ("–", "#666666")}
"""For each status: its mark and colour."""


def _verdict(result: Result) -> str:
    sign, color = MARKS[digest.verdict_status(result)]
    return f'<p style="color: {color}">{sign} {as_html(digest.verdict(result))}</p>'


def _checks(result: Result) -> str:
    lines = digest.checks(result)
    items = (
        f'<li style="list-style: none; color: {MARKS[line.status][1]}">'
        f"{MARKS[line.status][0]} {as_html(line.text)}</li>"
        for line in lines
    )
    return f'<ul style="padding-left: 0">{"".join(items)}</ul>' if lines else ""


def _sparklines(result: Result) -> str:
    duration = result.facts.duration
    if not (len(result.jobs) and duration > 0):
        return ""
    width = bin_width(duration, BINS)
    bins = result.timeline(width)
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
