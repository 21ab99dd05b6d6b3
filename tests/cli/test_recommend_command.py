"""``queuesim recommend``: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

BUSY = """\
name: busy
epoch: 2025-01-01T00:00:00Z
duration: 5m
workers: {concurrency: 1}
jobs: {mail: {service: {exponential: 500ms}}}
load: [{name: users, poisson: 5/s}]
thresholds: [waiting.p95 < 2s]
"""


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("busy.yaml").write_text(BUSY)
    return Path("busy.yaml")


def test_the_least_value_with_what_binds(busy: Path, invoke: Command) -> None:
    done = invoke("recommend", busy, "workers.concurrency", "--replications", 4)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("workers.concurrency 3", "the next cheaper one", "rule of thumb", "common seeds"):
        assert part in done.stdout
    done = invoke("recommend", busy, "workers.concurrency", "--replications", 4, "--quiet")
    assert done.stdout == "workers.concurrency 3\n"


def test_the_cheapest_combination_as_json(busy: Path, invoke: Command) -> None:
    parameters = ("workers.count=1..4", "workers.concurrency=1,2,4")
    costs = ("--cost", "workers.count=10", "--cost", "workers.concurrency=1")
    told = json.loads(invoke("recommend", busy, *parameters, *costs, "--replications", 3, "--json").stdout)
    assert told["values"] == {"workers.count": 1, "workers.concurrency": 4}
    assert told["cost"] == 14
    assert told["monotone"] is True


def test_nothing_that_meets_ends_with_1(busy: Path, invoke: Command) -> None:
    done = invoke("recommend", busy, "workers.concurrency=1,2", "--replications", 3)
    assert done.returncode == 1
    assert "nothing meets" in done.stdout
    assert "what binds: waiting.p95 < 2s" in done.stdout


def test_a_deadline_and_changes(busy: Path, invoke: Command) -> None:
    changes = ("--set", "load=[{name: night, backlog: 300}]")
    done = invoke("recommend", busy, "workers.concurrency", "--by", "00:02", *changes, "--replications", 3, "--quiet")
    # 150 s of work in two minutes
    assert (done.returncode, done.stdout) == (0, "workers.concurrency 2\n")


def test_requirements_in_place_of_thresholds(busy: Path, invoke: Command) -> None:
    done = invoke(
        *("recommend", busy, "workers.concurrency", "--require", "waiting.p95 < 100ms", "--require", "lost == 0"),
        *("--replications", 4, "--quiet"),
    )
    assert done.returncode == 0
    assert int(done.stdout.split()[1]) > 3
