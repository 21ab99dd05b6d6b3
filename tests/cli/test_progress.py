"""The progress bar: on a terminal only, on stderr, drawn now and then."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from queuesim.results.views import progress
from queuesim.results.views.progress import ProgressBar, run_bar, wants_progress

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def on_terminal(*arguments: str) -> tuple[subprocess.CompletedProcess[bytes], str]:
    """Run the command with a terminal for stderr, and return what that showed, too."""
    ours, theirs = pty.openpty()
    shown = b""
    try:
        command = [sys.executable, "-W", "error", "-m", "queuesim", *arguments]
        settings = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=settings) as process:
            os.close(theirs)
            # the terminal's end is an error of its own kind
            with contextlib.suppress(OSError):
                while part := os.read(ours, 4096):
                    shown += part
            told, _ = process.communicate(timeout=60)
    finally:
        os.close(ours)
    return subprocess.CompletedProcess(command, process.returncode, told), shown.decode()


def test_on_a_terminal_it_is_shown_and_taken_away(small: Path) -> None:
    done, shown = on_terminal("run", str(small))
    assert done.returncode == 0
    assert "small" in shown
    assert "0 s of 1 min, 0 jobs finished" in shown
    # its line is erased, so that only the summary stays
    assert "\x1b[2K" in shown
    assert b"of 1 min," not in done.stdout
    assert done.stdout.endswith(
        "✓ lost == 0: 0 jobs were lost\n✓ 7 health checks passed\n✓ 18 oracles found no violation\n".encode()
    )


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [([], True), (["--quiet"], False), (["--json"], False), (["--no-progress"], False)],
)
def test_whether_it_is_drawn(
    invoke: Command, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], drawn: bool
) -> None:
    calls = 0

    class Spy(ProgressBar):
        def __call__(self, now: float, finished: int) -> None:
            nonlocal calls
            calls += 1

    monkeypatch.setattr(progress, "wants_progress", lambda: True)
    monkeypatch.setattr(progress, "ProgressBar", Spy)
    assert invoke("run", small, *arguments).returncode == 0
    # a call for each hundredth of the run, and for its beginning
    assert calls in (range(100, 103) if drawn else (0,))


@pytest.mark.parametrize(("term", "wanted"), [("xterm", True), ("dumb", False)])
def test_terminals(monkeypatch: pytest.MonkeyPatch, term: str, wanted: bool) -> None:
    monkeypatch.setenv("TERM", term)
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            assert wants_progress() is wanted
            monkeypatch.undo()
    finally:
        os.close(ours)


def test_a_file_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not wants_progress()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error as a terminal of 100 columns."""
    for name, value in {"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)


def test_what_it_tells(terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with run_bar(14400.0, "four hours [b]", True) as bar:
        assert bar is not None
        bar(4800.0, 12_345)
        bar(14_500.0, 20_000)
    shown = capsys.readouterr().err
    # names are no markup
    assert "four hours [b]" in shown
    assert "1 h 20 min of 4 h, 12,345 jobs finished" in shown
    assert "4 h 2 min (draining), 20,000 jobs finished" in shown


def test_it_is_drawn_seldom(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 3600.0)
    with run_bar(14400.0, "four hours", True) as bar:
        assert bar is not None
        bar(0.0, 0)
        for finished in range(1, 100):
            bar(144.0 * finished, finished)
        shown = capsys.readouterr().err
        assert "0 jobs finished" in shown
        assert "1 job finished" not in shown
        assert "99 jobs finished" not in shown
