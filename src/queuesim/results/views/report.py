"""Reports: a result as one HTML file for a colleague, as JUnit XML and as Markdown for CI."""

from __future__ import annotations

from pathlib import Path

from queuesim.error import QueuesimError
from queuesim.results.summary import Run

ENDINGS = (".html", ".md", ".xml")
"""What a report's file can end with: a page, a Markdown summary, JUnit XML."""


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
        from queuesim.results.views.markdown import markdown

        text = markdown(result)
    else:
        from queuesim.results.views.junit import junit

        text = junit(result)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
