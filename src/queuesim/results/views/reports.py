"""Reports: a result as a page for a colleague, and for CI as a Markdown summary and as JUnit XML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from queuesim.error import QueuesimError
from queuesim.results.summary import Run
from queuesim.results.views import digest
from queuesim.text import as_markdown, measured, shown, shown_lines

ENDINGS = (".html", ".md", ".xml")
"""What a report's file can end with: a page, a Markdown summary, JUnit XML."""

MARKS = {"passed": "✅", "failed": "❌", "not judged": "➖"}
"""For each status of a check: its mark in Markdown."""


class ReportError(QueuesimError):
    """A report of a kind that there is none of."""


def check_ending(file: Path) -> None:
    """Raise ReportError, naming what there is, if a file's ending says nothing about the kind of report."""
    if file.suffix.lower() not in ENDINGS:
        raise ReportError(
            f"{file}: a report ends with .html (a page), .md (a summary) or .xml (JUnit), not with {file.suffix!r}"
        )


def write_report(result: Run, file: Path, command: str = "") -> None:
    """Write a report of the kind that the file's ending says. A page names the command that made it, if it is given.

    Raises:
        ReportError: the ending is none of ENDINGS.
        MissingExtraError: a page needs matplotlib, which is not installed.
        OSError: the file can't be written.
    """
    check_ending(file)
    ending = file.suffix.lower()
    if ending == ".html":
        from queuesim.results.views.html import page

        text = page(result, command)
    elif ending == ".md":
        text = markdown(result)
    else:
        text = junit(result)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def markdown(result: Run) -> str:
    """A page with a title, a sentence, tables of totals and times, and a line a check."""
    mark = MARKS[digest.verdict_status(result)]
    lines = [f"## {mark} {as_markdown(result.facts.scenario)}", "", f"**{as_markdown(digest.verdict(result))}**", ""]
    lines += [as_markdown(digest.headline(result)), ""]
    lines += [as_markdown(digest.origin(result)), ""]
    for check in digest.checks(result):
        lines.append(f"- {MARKS[check.status]} {as_markdown(check.text)}")
    if errors := digest.errors(result):
        lines += ["", *_table(digest.ERRORS, errors)]
    lines += ["", *_table(("", ""), digest.totals(result))]
    for heads, rows in ((digest.COUNTS, digest.counts(result)), (digest.TIMES, digest.times(result))):
        lines += ["", *_table(heads, rows)] if rows else []
    notes = [*digest.outcomes(result), digest.limiter(result)]
    lines += ["", *(f"- {as_markdown(note)}" for note in notes if note)]
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    align = ["---", *["---:"] * (len(heads) - 1)]
    cells = [heads, align, *([as_markdown(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def junit(result: Run) -> str:
    """A test suite of the run's name with a case a check, and one that says whether the run came to its end."""
    facts, checks = result.facts, result.checks
    columns = ("kind", "check", "status", "value", "unit", "limit", "detail")
    cases = [
        (str(kind), str(name), str(status), _failure_message(str(kind), str(status), *rest))
        for kind, name, status, *rest in zip(*(checks[column] for column in columns), strict=True)
    ]
    stopped = "" if facts.stopped is None else str(facts.stopped)
    cases.append(("run", "the run came to its end", "failed" if stopped else "passed", stopped))
    statuses = [status for _, _, status, _ in cases]
    numbers = {"tests": str(len(cases)), "failures": str(statuses.count("failed")), "time": f"{facts.wall:.3f}"}
    skipped = str(statuses.count("not judged"))
    root = ET.Element("testsuites", {"name": "queuesim", "skipped": skipped, **numbers})
    name = shown(facts.scenario)
    suite = ET.SubElement(root, "testsuite", {"name": name, "errors": "0", "skipped": skipped, **numbers})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("backend", facts.backend), ("seed", facts.seed), ("duration", f"{facts.duration:g} s")):
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})
    for kind, name, status, message in cases:
        case = ET.SubElement(suite, "testcase", {"classname": f"{shown(facts.scenario)}.{kind}", "name": shown(name)})
        if status == "not judged":
            ET.SubElement(case, "skipped", {"message": shown_lines(message)})
        elif status == "failed":
            ET.SubElement(case, "failure", {"message": shown_lines(message), "type": kind}).text = shown_lines(message)
    if errors := digest.error_lines(result):
        ET.SubElement(suite, "system-out").text = shown_lines("\n".join(["top errors:", *errors]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _failure_message(kind: str, status: str, value: float, unit: str, limit: str, detail: str) -> str:
    if status != "failed" or kind in ("health", "invariant"):
        return detail
    return f"measured {measured(value, unit)}, asked for {limit}. {detail}".strip()
