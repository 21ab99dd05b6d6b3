"""``queuesim run --replications``: what it prints, writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_it_shows_figures_with_intervals_and_the_checks(small: Path, invoke: Command) -> None:
    done = invoke("run", small, "--replications", 3)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("ok: 3 runs of small", "95 % interval", "throughput", "lost == 0: failed in 0 of 3 runs"):
        assert part in done.stdout


def test_a_threshold_that_fails_in_one_run_decides_the_exit_code(small: Path, invoke: Command) -> None:
    changes = ("--set", "load.users.poisson=60/min", "--set", "thresholds=[added < 62]")
    done = invoke("run", small, "--replications", 8, *changes, "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "added < 62: failed in" in done.stderr
    assert invoke("run", small, "--replications", 8, *changes, "--quiet", "--may-fail", "95%").returncode == 0


def test_json_and_files_hold_the_same_numbers(small: Path, invoke: Command, tmp_path: Path) -> None:
    done = invoke("run", small, "--replications", 3, "--json", "--confidence", "90%", "-o", tmp_path / "out")
    told = json.loads(done.stdout)
    assert (told["ok"], told["confidence"], len(told["runs"])) == (True, 0.9, 3)
    stored = pd.read_parquet(tmp_path / "out" / "figures.parquet")
    assert stored["mean"].tolist() == [each["mean"] for each in told["figures"]]
    assert invoke("run", small, "--replications", 3, "-o", tmp_path / "out").returncode == 2


def test_it_plays_until_intervals_are_narrow(small: Path, invoke: Command) -> None:
    done = invoke("run", small, "--until", "throughput=20%", "--json")
    told = json.loads(done.stdout)
    assert 10 <= len(told["runs"]) < 1000
    assert "reached" in told["notes"][-1]


def test_several_scenarios_are_played_each_and_a_wrong_one_keeps_none_of_them_back(
    small: Path, invoke: Command
) -> None:
    Path("wrong.yaml").write_text("name: 5\n")
    done = invoke("run", "wrong.yaml", small, "--replications", 2)
    assert done.returncode == 2
    assert "ok: 2 runs of small" in done.stdout
    assert "wrong.yaml" in done.stderr


def test_handlers_of_ones_own_are_played_in_processes(small: Path, invoke: Command) -> None:
    Path("mine.py").write_text(
        "from queuesim import Processor\nprocessor = Processor('p')\n"
        "@processor.job('task-created')\nasync def created(job): ...\n"
    )
    small.write_text(small.read_text().replace("    service: 80ms", "    weight: 1"))
    done = invoke("run", small, "--processor", "mine:processor", "--replications", 2, "--processes", 2)
    assert (done.returncode, done.stderr) == (0, "")
