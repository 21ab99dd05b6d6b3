"""Tables for notebooks: numbers with four digits, where pandas and dataclasses show all. Values never change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from queuesim.text import as_html


def rounded(value: Any) -> str:
    """A number with four digits, whole ones with all of theirs; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return "–" if value != value else f"{value:.4g}"


def html_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table of numbers and texts."""
    cells = "".join(f"<tr>{''.join(f'<td>{as_html(rounded(cell))}</td>' for cell in row)}</tr>" for row in rows)
    titles = "".join(f"<th>{as_html(name)}</th>" for name in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{cells}</tbody></table>"


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
