"""The terminal's view of a result: text, tables, and charts of Unicode blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from queuesim.results.levels import bin_width
from queuesim.results.summary import Run
from queuesim.results.timeline import timeline
from queuesim.results.views import digest
from queuesim.text import readable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


BLOCKS = " ▁▂▃▄▅▆▇█"
"""What charts are drawn with: an eighth of a cell more each."""
PLAIN = "     ####"
"""The same for a terminal that knows only ASCII."""
MOST_COLUMNS = 120
MARKS = {"passed": ("✓", "ok  ", "green"), "failed": ("✗", "FAIL", "bold red"), "not judged": ("–", "--  ", "yellow")}
"""For each status of a check: its mark, the same in ASCII, and its style."""


def render(result: Run, console: Console) -> None:
    """Print what happened: a sentence, tables, charts over time, the limiter, the checks.

    It reads well at 80 columns, without colours, and on a terminal that knows only ASCII.
    """
    print_marked(console, digest.verdict_status(result), digest.verdict(result))
    print_line(console, digest.headline(result), style="bold")
    print_line(console, digest.origin(result), style="dim")
    console.print()
    console.print(_totals(result, console))
    for heads, rows in ((digest.COUNTS, digest.counts(result)), (digest.TIMES, digest.times(result))):
        if rows:
            console.print()
            console.print(_by_name(heads, rows, console))
    _charts(result, console)
    console.print()
    for line in (*digest.outcomes(result), digest.limiter(result)):
        if line:
            print_line(console, line)
    if errors := digest.error_lines(result):
        console.print()
        print_line(console, "top errors", style="dim")
        for line in errors:
            print_line(console, line)
    if checks := digest.checks(result):
        console.print()
        for check in checks:
            print_marked(console, check.status, check.text, wide=True)


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print lines as they are, as far as the terminal can write them."""
    for line in lines:
        print_line(console, line)


def print_marked(console: Console, status: str, text: str, *, wide: bool = False) -> None:
    """Print a line with the mark of a status. `wide`: where marks are words, texts begin below each other."""
    sign, word, style = MARKS[status]
    mark = (word if wide else word.strip()) if console.options.ascii_only else sign
    print_line(console, f"{mark} {text}", style=style)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a line as it is, as far as the terminal's encoding has its characters."""
    # neither markup nor highlighting: names come from the user's files
    console.print(_writable(text, console), style=style, markup=False, highlight=False)


def _writable(text: str, console: Console) -> str:
    """The text without what the terminal's encoding lacks: a name may hold anything."""
    if console.options.ascii_only:
        text = text.replace("–", "-").replace("×", "x").replace("…", "...")
    return text.encode(console.encoding, errors="replace").decode(console.encoding)


def _totals(result: Run, console: Console) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for label, value in digest.totals(result):
        table.add_row(Text(label, style="dim"), Text(_writable(value, console)))
    return table


def _by_name(heads: tuple[str, ...], rows: list[tuple[str, ...]], console: Console) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)
    for head in heads:
        first = head == "job"
        # "latency p50" in two lines: the column stays narrow
        words = head.replace(" ", "\n")
        table.add_column(words, justify="left" if first else "right", overflow="fold", no_wrap=not first)
    for row in rows:
        table.add_row(*(Text(_writable(cell, console)) for cell in row), style="bold" if row[0] == "all" else "")
    return table


def _charts(result: Run, console: Console) -> None:
    facts = result.facts
    if not (len(result.jobs) and facts.duration > 0):
        return
    width = max(20, min(console.width, MOST_COLUMNS) - 12)
    every = bin_width(facts.duration, most=width)
    bins = timeline(result, every)
    span = f"averages over {readable(every)}{', warm-up included' if facts.warmup else ''}"
    for title, column, scale in (
        (f"backlog: jobs ready to start ({span})", "backlog", 1.0),
        (f"throughput: jobs completed per minute ({span})", "throughput", 60.0),
    ):
        console.print()
        print_line(console, title, style="dim")
        values = [float(value) * scale for value in bins[column]]
        for line in chart(values, facts.duration, ascii_only=console.options.ascii_only):
            console.print(line, markup=False, highlight=False, no_wrap=True, crop=True)


def chart(values: Sequence[float], duration: float, height: int = 5, ascii_only: bool = False) -> list[str]:
    """Columns, one a value, above an axis of time from 0 to `duration` seconds, as lines of text.

    The highest value reaches the top line, and is written there; NaN leaves a gap.
    """
    shades, rule, corner = (PLAIN, "-", "+") if ascii_only else (BLOCKS, "─", "┼")
    upright = "|" if ascii_only else "│"
    top = max((value for value in values if not math.isnan(value)), default=0.0)
    label = _label(top)
    margin = max(len(label), 6)
    lines = []
    for row in range(height - 1, -1, -1):
        cells = "".join(shades[_eighths(value, top, height, row)] for value in values)
        lines.append(f"{label if row == height - 1 else '':>{margin}} {upright}{cells}".rstrip())
    lines.append(f"{0:>{margin}} {corner}{rule * len(values)}")
    lines.append(" " * (margin + 2) + _ticks(len(values), duration))
    return lines


def _eighths(value: float, top: float, height: int, row: int) -> int:
    """How much of a cell of this row is filled, in eighths. What is above zero always shows."""
    if math.isnan(value) or top <= 0 or value <= 0:
        return 0
    filled = max(1, round(value / top * height * 8))
    return min(8, max(0, filled - row * 8))


def _label(top: float) -> str:
    return f"{top:,.0f}" if top >= 100 else f"{top:.3g}"


def _ticks(width: int, duration: float) -> str:
    """Times below the axis, as many as have room."""
    if not (duration > 0 and width):
        return ""
    step = bin_width(duration, most=max(1, width // 12))
    line = "0"
    for count in range(1, int(duration / step * (1 + 1e-9)) + 1):
        text = readable(count * step)
        place = round(count * step / duration * width) - len(text) // 2
        place = min(place, width - len(text))
        if place > len(line):
            line = line.ljust(place) + text
    return line
