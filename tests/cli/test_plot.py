"""``queuesim plot``: the overview as a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def stored(invoke: Command, small: Path) -> Path:
    assert invoke("run", small, "-q", "-o", "out").returncode == 0
    return Path("out")


def test_it_lies_in_the_results_directory(queuesim: Command, stored: Path) -> None:
    done = queuesim("plot", stored)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "written to out/overview.png\n"
    assert (stored / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_the_ending_says_the_format(invoke: Command, stored: Path) -> None:
    assert invoke("plot", stored, "-o", "picture.svg").returncode == 0
    text = Path("picture.svg").read_text()
    assert "<svg" in text


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("picture.pgn", 'picture.pgn: unknown picture format "pgn"; did you mean "png"? formats: '),
        ("picture", 'picture: unknown picture format ""; formats: '),
        ("nowhere/picture.png", "nowhere/picture.png: No such file or directory"),
    ],
)
def test_a_file_that_can_not_be(invoke: Command, stored: Path, file: str, message: str) -> None:
    done = invoke("plot", stored, "-o", file)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert not Path(file).exists()


def test_without_matplotlib_it_says_what_to_install(
    invoke: Command, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = invoke("plot", stored)
    assert done.returncode == 2
    assert done.stderr == "plots need matplotlib, which is not installed: pip install -c constraints.txt -e '.[plot]'\n"
