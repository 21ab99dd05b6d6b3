"""HTML: jinja2 templates that escape whatever they are given, and tables of numbers with four digits.

It is what reports, notebooks' views of results, scenarios and sweeps are made by. The values themselves never change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from queuesim.text import shown

if TYPE_CHECKING:
    from jinja2 import Environment

MARKS = {
    "passed": ("✓", "good", "#007a5a"),
    "failed": ("✗", "bad", "#b34700"),
    "not judged": ("–", "unjudged", "#666666"),
}
"""For each status of a check: its sign, its class in a report, and its colour in a notebook."""


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("queuesim.results"),
        autoescape=True,
        undefined=StrictUndefined,
        # names come from users' files: nothing that a reader would obey
        finalize=lambda value: value if hasattr(value, "__html__") else shown(value),
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for place, name in enumerate(("sign", "style", "color")):
        environment.filters[name] = lambda status, place=place: MARKS[status][place]
    environment.filters["rounded"] = rounded
    return environment


def fill(template: str, **values: Any) -> str:
    """The HTML of a template of this package, "report.html", filled with values."""
    return _environment().get_template(template).render(values)


def html_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table of numbers and texts."""
    return fill("table.html", head=head, rows=rows)


def rounded(value: Any) -> str:
    """A number with four digits, whole ones with all of theirs; anything else as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return "–" if value != value else f"{value:.4g}"


def fields_of(record: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a dataclass and of those in it, each by its path: ``jobs.latency.p95``."""
    for field in dataclasses.fields(record):
        name, value = f"{prefix}{field.name}", getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{name}.")
        elif isinstance(value, dict):
            for key, part in value.items():
                if dataclasses.is_dataclass(part):
                    yield from fields_of(part, f"{name}[{key}].")
                else:
                    yield f"{name}[{key}]", part
        else:
            yield name, value
