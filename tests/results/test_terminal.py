"""The terminal's view, at 80 columns and without colour."""

from __future__ import annotations

import io

import pytest
from metrics_script import Script
from rich.console import Console

from queuesim.results.recording import CheckRow
from queuesim.results.result import Result
from queuesim.results.views.terminal import render

INVALID = ("ValidationError", "Validation", False)


def run(name: str = "overdue-tasks-notification") -> Result:
    script = Script(14400.0, limiter=(1, 3600.0))
    for number in range(60):
        job = script.job(number * 60.0, name=name if number % 2 else "task-created")
        ending, error = ("failed", INVALID) if number == 7 else ("ok", None)
        script.attempt(job, number * 200.0, number * 200.0 + 10, ending, error=error)
    script.window(0.0, 3600.0, 1)
    script.checks.append(CheckRow("lost == 0", True, 0.0, "== 0", unit="jobs lost"))
    script.checks.append(CheckRow("failed == 0", False, 1.0, "== 0", unit="jobs failed"))
    return Result(script.recording())


def shown(result: Result, width: int = 80, encoding: str = "utf-8", **options: object) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    render(result, Console(file=file, width=width, **options))  # type: ignore[arg-type]
    file.seek(0)
    return file.read()


def test_everything_is_there() -> None:
    text = shown(run())
    assert text.startswith(
        "✗ not ok: 1 check failed (failed == 0)\n60 jobs in 4 h: 59 completed and 1 failed for good."
    )
    for part in (
        "jobs added             60",
        "overdue-tasks-notification     30         29       1     0     0        30",
        "backlog: jobs ready to start (averages over 4 min)",
        "throughput: jobs completed per minute (averages over 4 min)",
        "attempts: 59 ok, 1 failed",
        "limiter, 1 per 1 h: 1 of 1 window used up",
        "1 × ValidationError (Validation) in overdue-tasks-notification (1 job, first at",
        "✓ lost == 0: 0 jobs were lost",
        "✗ failed == 0 failed: 1 job failed",
    ):
        assert part in text, part
    axis = next(line for line in text.splitlines() if line.lstrip().startswith("0  "))
    assert axis.split() == ["0", "1", "h", "2", "h", "3", "h", "4", "h"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits(width: int) -> None:
    assert max(len(line) for line in shown(run(), width).splitlines()) <= width


def test_without_colour_there_are_no_escapes() -> None:
    assert "\x1b" not in shown(run(), force_terminal=True, no_color=True, color_system=None)
    assert "\x1b" in shown(run(), force_terminal=True, color_system="standard")


def test_a_terminal_that_knows_only_ascii() -> None:
    text = shown(run("größe ✓"), encoding="ascii")
    assert text.isascii()
    assert "FAIL failed == 0" in text
    assert "gr??e ?" in text


def test_names_are_no_markup() -> None:
    assert "[red]job[/]" in shown(run("[red]job[/]"))


@pytest.mark.parametrize(
    "script", [Script(), Script(0.0), Script(10.0, warmup=20.0)], ids=["empty", "no time", "warm-up"]
)
def test_nothing_happened(script: Script) -> None:
    assert "0 jobs in" in shown(Result(script.recording()))
