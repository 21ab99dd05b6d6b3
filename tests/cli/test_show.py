"""``queuesim show``: what a run printed, printed again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_it_prints_what_the_run_printed(invoke: Command, small: Path) -> None:
    ran = invoke("run", small, "-o", "out")
    shown = invoke("show", "out")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == ran.stdout


def test_a_failed_check_is_no_failure_to_show(invoke: Command, small: Path) -> None:
    assert invoke("run", small, "-q", "-o", "out", "--set", "thresholds=[added < 0]").returncode == 1
    shown = invoke("show", "out")
    assert shown.returncode == 0
    assert "✗ added < 0" in shown.stdout
    checked = invoke("show", "out", "--check")
    assert checked.returncode == 1
    assert checked.stdout == shown.stdout
    assert invoke("run", small, "-q", "-o", "good").returncode == 0
    assert invoke("show", "good", "--check").returncode == 0


def test_json(invoke: Command, small: Path) -> None:
    ran = invoke("run", small, "--json", "-o", "out")
    assert ran.stderr == "written to out\n"
    played = json.loads(ran.stdout)
    assert played.pop("file") == "small.yaml"
    assert json.loads(invoke("show", "out", "--json").stdout) == played
