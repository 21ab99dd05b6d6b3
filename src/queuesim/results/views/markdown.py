"""A Markdown summary, as CI shows it beside a run: the verdict, the numbers, the checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from queuesim.results.summary import Run
from queuesim.results.views import digest
from queuesim.text import shown

MARKS = {"passed": "✅", "failed": "❌", "not judged": "➖"}


def markdown(result: Run) -> str:
    """A page with a title, a sentence, tables of totals and times, and a line a check."""
    mark = MARKS[digest.verdict_status(result)]
    lines = [f"## {mark} {_text(result.facts.scenario)}", "", f"**{_text(digest.verdict(result))}**", ""]
    lines += [_text(digest.headline(result)), ""]
    lines += [_text(digest.origin(result)), ""]
    for check in digest.checks(result):
        lines.append(f"- {MARKS[check.status]} {_text(check.text)}")
    if errors := digest.errors(result):
        lines += ["", *_table(digest.ERRORS, errors)]
    lines += ["", *_table(("", ""), digest.totals(result))]
    for heads, rows in ((digest.COUNTS, digest.counts(result)), (digest.TIMES, digest.times(result))):
        lines += ["", *_table(heads, rows)] if rows else []
    notes = [*digest.outcomes(result), digest.limiter(result)]
    lines += ["", *(f"- {_text(note)}" for note in notes if note)]
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    align = ["---", *["---:"] * (len(heads) - 1)]
    cells = [heads, align, *([_text(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _text(text: str) -> str:
    """Text that Markdown takes for nothing else: names come from users' files."""
    text = shown(text)
    for sign in "\\`*_<>[]|#~&!":
        text = text.replace(sign, f"\\{sign}")
    return text
