"""Makes the tables of docs/scenarios.md again, from the JSON Schema of scenario files: python tools/scenario_keys.py

A table stands between ``<!-- keys of X -->`` and ``<!-- end -->``, X a section of the schema; so do those of metrics,
of health checks and of the kinds of faults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from queuesim.results.health import HEALTH_CHECKS
from queuesim.results.metrics import METRICS
from queuesim.scenario.loading import json_schema
from queuesim.units import DURATION_PATTERN, PERCENT_PATTERN, RATE_PATTERN

PAGE = Path(__file__).parents[1] / "docs" / "scenarios.md"
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TABLE = re.compile(r"(<!-- keys of (?P<section>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
ZERO = {"const": 0}
"""A bare 0, which needs no unit."""
PATTERNS = {DURATION_PATTERN: "duration", RATE_PATTERN: "rate", PERCENT_PATTERN: "percent"}
UNITS = {"s": "seconds", "1/s": "per second", "share": "0 to 1 or percent"}
WORDS = {"string": "text", "boolean": "true or false", "number": "number", "object": "mapping"}


def sections() -> dict[str, dict[str, Any]]:
    """The mappings of a scenario file by name, each with its properties; the file itself is Scenario."""
    schema = json_schema()
    parts = {"Scenario": schema, **schema["$defs"]}
    return {name: _long_form(part) for name, part in parts.items()}


def _long_form(section: dict[str, Any]) -> dict[str, Any]:
    """Where a section has a short form, the mapping that it is short for."""
    options = [option for option in section.get("anyOf", []) if "properties" in option]
    return {**section, **options[0]} if options else section


def table(name: str) -> str:
    """The Markdown table of one section, or of the metrics."""
    if name == "metrics":
        return "".join(metric_rows())
    if name == "health":
        return "".join(health_rows())
    if name == "FaultEntry":
        return "".join(fault_rows())
    section = sections()[name]
    rows = ["| key | value | if left out | |\n", "|---|---|---|---|\n"]
    for key, value in section["properties"].items():
        default = "**needed**" if key in section.get("required", ()) else _default(value)
        rows.append(f"| `{key}` | {kind(value)} | {default} | {meaning(value)} |\n")
    return "".join(rows)


def _default(value: dict[str, Any]) -> str:
    if "default" not in value or value["default"] == "":
        return ""
    default = value["default"]
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text.removesuffix('.0')}`"


def kind(value: dict[str, Any]) -> str:
    """What can be written, in words."""
    if "$ref" in value:
        return link(value["$ref"].rpartition("/")[2])
    if "anyOf" in value:
        options = [option for option in value["anyOf"] if option != ZERO or option["const"] is False]
        return " or ".join(dict.fromkeys(kind(option) for option in options))
    if "const" in value:
        return f"`{str(value['const']).lower()}`"
    if "enum" in value:
        return " or ".join(f"`{word}`" for word in value["enum"])
    if value.get("pattern") in PATTERNS:
        return PATTERNS[value["pattern"]]
    if value.get("type") == "array":
        return f"list of: {kind(value['items'])}"
    if value.get("type") == "integer":
        return f"whole number from {value['minimum']}"
    if value.get("format") == "date-time":
        return "time"
    if isinstance(value.get("additionalProperties"), dict):
        return f"mapping of names to {kind(value['additionalProperties'])}"
    if value.get("maximum") == 1:
        return "0 to 1"
    return WORDS.get(value.get("type", ""), "any JSON")


def link(section: str) -> str:
    """A link to where the page describes a section: to the heading above its table."""
    page = PAGE.read_text()
    place = page.index(f"<!-- keys of {section} -->")
    heading = HEADING.findall(page, 0, place)[-1]
    anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    return f"[{heading.replace('`', '')}](#{anchor})"


def meaning(value: dict[str, Any]) -> str:
    """The description of a key, or else of what it holds; not that of its type, which its column says."""
    text: str = value.get("description", "")
    if not text and "$ref" in value:
        text = json_schema()["$defs"][value["$ref"].rpartition("/")[2]]["description"]
    if text.startswith(("A duration:", "A rate:", "A probability from")):
        return ""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


def metric_rows() -> Iterator[str]:
    """What thresholds can be about."""
    yield "| metric | in | statistics | |\n|---|---|---|---|\n"
    for metric in METRICS.values():
        statistics = ", ".join(f"`{statistic}`" for statistic in metric.statistics)
        yield f"| `{metric.name}` | {UNITS.get(metric.unit, 'number')} | {statistics} | {metric.meaning} |\n"


def health_rows() -> Iterator[str]:
    """What `expect` can name."""
    yield "| health check | what a failure means |\n|---|---|\n"
    for check in HEALTH_CHECKS.values():
        yield f"| `{check.name}` | {check.meaning} |\n"


def fault_rows() -> Iterator[str]:
    """The kinds of faults, and what each has beside when it strikes."""
    yield "| fault | what happens | beside when it strikes |\n|---|---|---|\n"
    parts = sections()
    for name, value in parts["FaultEntry"]["properties"].items():
        section = parts[value["$ref"].rpartition("/")[2]]
        keys = {key: value for key, value in section["properties"].items() if key not in WHEN}
        told = "; ".join(
            f"`{key}`, {kind(value)}{_needed(key, section)}: {meaning(value).rstrip('.').replace('.', ';')}".rstrip(
                ": "
            )
            for key, value in keys.items()
        )
        yield f"| `{name}` | {' '.join(section['description'].split())} | {told} |\n"


WHEN = ("at", "every", "while", "for", "probability")
"""The keys that say when a fault strikes."""


def _needed(key: str, section: dict[str, Any]) -> str:
    return " (**needed**)" if key in section.get("required", ()) else ""


def filled(page: str) -> str:
    """The page with every table made again."""
    return TABLE.sub(lambda place: f"{place[1]}\n{table(place['section'])}\n{place[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
