"""Fixtures of the command line's tests: a small scenario, the application in this process, and a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

Command = Callable[..., subprocess.CompletedProcess[str]]

SMALL = """\
name: small
seed: 3
duration: 1m
jobs:
  task-created:
    service: 80ms
load:
  - name: users
    poisson: 60/min
thresholds:
  - lost == 0
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario that takes a moment, in the current directory: errors name it as ``small.yaml``."""
    monkeypatch.chdir(tmp_path)
    path = Path("small.yaml")
    path.write_text(SMALL)
    return path


@pytest.fixture
def invoke() -> Command:
    """Runs the application in this process."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        from queuesim.cli.app import app

        result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="queuesim")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def queuesim() -> Command:
    """Runs the command in a process of its own, in which a warning is an error."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "queuesim", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run
