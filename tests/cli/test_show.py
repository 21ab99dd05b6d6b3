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


def test_theory_stands_below_the_summary(invoke: Command, small: Path) -> None:
    ran = invoke("run", small, "-o", "out", "--theory")
    assert (ran.returncode, ran.stderr) == (0, "written to out\n")
    plain, _, theory = ran.stdout.partition("\nM/D/1 (exact)\n")
    assert plain.rstrip("\n") == invoke("show", "out").stdout.rstrip("\n")
    assert "waiting.mean" in theory
    assert "does not apply:\n  M/M/c: service is constant, 80 ms" in theory
    assert all(len(line) <= 80 for line in theory.splitlines())
    assert invoke("show", "out", "--theory").stdout == ran.stdout


def test_theory_as_json(invoke: Command, small: Path) -> None:
    ran = json.loads(invoke("run", small, "-o", "out", "--theory", "--json").stdout)
    theory = json.loads(invoke("show", "out", "--theory", "--json").stdout)["theory"]
    assert ran["theory"] == theory
    (waiting,) = (row for row in theory["rows"] if (row["model"], row["figure"]) == ("M/D/1", "waiting.mean"))
    # rho s / (2 (1 - rho)) with rho = 0.08
    assert abs(waiting["predicted"] - 0.08 * 0.08 / (2 * 0.92)) < 1e-12
    # what is not known is null in JSON
    assert waiting["half_width"] is None
    assert {row["model"] for row in theory["models"] if row["applies"]} >= {"M/D/1", "M/G/1"}
    assert "theory" not in json.loads(invoke("show", "out", "--json").stdout)


def test_quiet_is_stronger(invoke: Command, small: Path) -> None:
    assert invoke("run", small, "-q", "--theory").stdout == ""
