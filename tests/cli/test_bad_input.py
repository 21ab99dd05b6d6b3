"""Wrong input, end to end: exit code 2 and one message that says where, what is allowed and what was meant."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a command that was refused."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize(
    ("instead_of", "line", "place"),
    [("load:", "worker: {count: 2}\nload:", "7: worker"), ("seed: 3", "processor: nowhere:processor", "2: processor")],
)
def test_run_and_validate_refuse_in_the_same_words(
    queuesim: Command, invoke: Command, small: Path, instead_of: str, line: str, place: str
) -> None:
    small.write_text(small.read_text().replace(instead_of, line))
    message = refused(queuesim("run", "small.yaml"))
    assert message.startswith(f"small.yaml:{place}: ")
    assert refused(invoke("validate", "small.yaml")) == message


def test_all_problems_are_told_a_line_each(invoke: Command, small: Path) -> None:
    small.write_text(small.read_text().replace("80ms", "80").replace("60/min", "60"))
    done = invoke("run", small)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["small.yaml:6", "small.yaml:9"]


def test_a_directory_is_no_scenario(queuesim: Command, tmp_path: Path) -> None:
    assert refused(queuesim("run", tmp_path)).startswith(f"{tmp_path}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--seed", "x"],
        ["--handler-limit", "0"],
        ["--handler-limit", "nan"],
        ["--allow-io", "host:http"],
        ["--sede", "1"],
        ["--twice", "--backend", "redis"],
        ["no/*.yaml"],
    ],
)
def test_usage(invoke: Command, small: Path, arguments: list[str]) -> None:
    done = invoke("run", small, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: queuesim run" in done.stderr
    assert arguments[0].removeprefix("-") in done.stderr
