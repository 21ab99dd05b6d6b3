"""``queuesim init``: the first scenario is right, runs, and stands over nobody's files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("first_processor", None)


def test_what_it_writes_is_right_and_runs(queuesim: Command) -> None:
    done = queuesim("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "written: scenario.yaml",
        "written: scenario_processor.py",
        "now try: queuesim run scenario.yaml",
    ]
    ran = queuesim("run", "scenario.yaml", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    summary = json.loads(ran.stdout)["summary"]
    # both kinds of jobs fail now and then, as the handler and the scenario say
    assert set(summary["by_name"]) == {"send-mail", "make-report"}
    assert set(summary["errors"]) == {"Network", "Database"}
    assert summary["jobs"]["unfinished"] == 0


def test_what_its_comments_propose_works(invoke: Command) -> None:
    invoke("init", "first.yaml")
    validated = invoke("validate", "first.yaml")
    assert validated.stdout.endswith("3 thresholds, processor first_processor:processor\n")
    assert "queuesim run first.yaml --set workers.concurrency=2" in Path("first.yaml").read_text()
    assert invoke("run", "first.yaml", "-q", "--set", "workers.concurrency=2").returncode == 1


def test_another_name_in_another_place(invoke: Command) -> None:
    done = invoke("init", "load/peak-hour.yaml")
    assert done.returncode == 0
    scenario = Path("load/peak-hour.yaml").read_text()
    assert "processor: peak_hour_processor:processor" in scenario
    assert "queuesim run load/peak-hour.yaml " in scenario
    for text in (scenario, Path("load/peak_hour_processor.py").read_text()):
        assert "SCENARIO" not in text
        assert "MODULE" not in text


@pytest.mark.parametrize("name", ["scenario.yaml", "scenario_processor.py"])
def test_what_is_there_stays(invoke: Command, name: str) -> None:
    Path(name).write_text("mine\n")
    done = invoke("init")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{name} exists: ")
    assert [path.name for path in Path().iterdir()] == [name]
    assert Path(name).read_text() == "mine\n"


def test_a_name_that_is_no_module(invoke: Command) -> None:
    done = invoke("init", "4 hours.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("4 hours.yaml: ")


def test_a_place_that_can_not_be_written(invoke: Command) -> None:
    Path("file").touch()
    done = invoke("init", "file/scenario.yaml")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
