"""The page: a result as one self-contained HTML file, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from queuesim.escaping import as_html
from queuesim.metrics import digest
from queuesim.metrics.report.pictures import pictures
from queuesim.metrics.text import brief, percent, rate, readable

if TYPE_CHECKING:
    from queuesim.metrics.result import Result


MARKS = {"passed": ("✓", "good"), "failed": ("✗", "bad"), "not judged": ("–", "unjudged")}
"""For each status of a check: its mark and its class."""


def page(result: Result, command: str = "") -> str:
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
    sources = files("queuesim.metrics.report")
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


def _header(result: Result) -> str:
    sign, style = MARKS[digest.verdict_status(result)]
    return (
        '<header><div class="top"><p class="kicker">queuesim report</p>'
        '<button id="theme" type="button" aria-label="Light or dark">◐</button></div>'
        f'<h1>{as_html(result.facts.scenario)}</h1><p class="verdict {style}">'
        f"{sign} {as_html(digest.verdict(result))}</p>"
        f'<p class="lead">{as_html(digest.headline(result))}</p>'
        f'<p class="dim">{as_html(digest.origin(result))}</p></header>'
    )


def _tiles(result: Result) -> str:
    summary = result.summary()
    jobs = summary.jobs
    cost = result.analysis.limiter()
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
    drain = result.analysis.time_to_drain()
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


def _checks(result: Result) -> str:
    lines = digest.checks(result)
    stopped = result.facts.stopped
    items = [f'<li class="bad">✗ the run was stopped early: {as_html(str(stopped))}</li>'] if stopped else []
    items += [
        f'<li class="{MARKS[line.status][1]}">{MARKS[line.status][0]} <span>{as_html(line.text)}</span></li>'
        for line in lines
    ]
    return _section("checks", "Checks", f'<ul class="checks">{"".join(items)}</ul>' if items else "<p>None.</p>")


def _errors(result: Result) -> str:
    rows = digest.errors(result)
    return _section("errors", "Top errors", _table(digest.ERRORS, rows)) if rows else ""


def _tables(result: Result) -> str:
    tables = [
        _table(heads, rows)
        for heads, rows in ((digest.COUNTS, digest.counts(result)), (digest.TIMES, digest.times(result)))
        if rows
    ]
    lines = [*digest.outcomes(result), digest.limiter(result)]
    return "".join(tables) + "".join(f'<p class="dim">{as_html(line)}</p>' for line in lines if line)


def _faults(result: Result) -> str:
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


def _details(result: Result, command: str) -> str:
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
