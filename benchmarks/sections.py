"""The report of the benchmarks: a section a command, which replaces its own and leaves the others."""

from __future__ import annotations

from pathlib import Path

TITLE = "# Benchmarks\n\nThe figures are from one machine; ratios carry over. Each section names its command.\n"


def write_section(path: Path, heading: str, text: str, title: str = TITLE) -> None:
    """Put a section into the report, in place of the one of that heading."""
    sections = path.read_text().split("\n## ")[1:] if path.exists() else []
    kept = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    kept[heading] = text.strip()
    path.write_text(title + "".join(f"\n## {name}\n\n{body}\n" for name, body in kept.items()))
