"""Ctrl-C: what was simulated until then is shown and written; a second one ends it at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import queuesim
from queuesim.results.recording import StopReason

HANDLERS = """\
import asyncio
import signal
import sys

from queuesim import Processor

processor = Processor("endless")


@processor.job("work")
async def work(job):
    await asyncio.sleep(1.0)
    if job.number == 100:
        print("a hundred", file=sys.stderr, flush=True)


@processor.job("hang")
def hang(job):
    waiting = signal.getsignal(signal.SIGINT)
    print("hanging", file=sys.stderr, flush=True)
    while signal.getsignal(signal.SIGINT) is waiting:
        pass
    print("asked to end", file=sys.stderr, flush=True)
    while True:
        pass
"""

SCENARIO = """\
name: endless
duration: 10000d
processor: handlers:processor
load: [{name: users, jobs: work, poisson: 0.5/s}]
thresholds: [lost == 0]
"""


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("handlers.py").write_text(HANDLERS)
    Path("endless.yaml").write_text(SCENARIO)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "queuesim", "run", "endless.yaml", "--no-limit", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == f"{line}\n"


def test_what_was_simulated_is_shown_and_written() -> None:
    with start("-o", "out") as process:
        wait_for("a hundred", process)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "written to out\n"
    assert "The run was stopped early (interrupted" in " ".join(told.split())
    assert told.endswith("✓ lost == 0: 0 jobs were lost\n✓ 7 health checks passed\n✓ 18 oracles found no violation\n")
    result = queuesim.load("out")
    assert result.facts.stopped is not None
    assert result.facts.stopped.reason is StopReason.INTERRUPTED
    assert result.facts.duration < result.facts.asked
    assert len(result.jobs) >= 100


def test_quiet_says_that_it_was_interrupted() -> None:
    with start("--quiet") as process:
        wait_for("a hundred", process)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == ""
    assert errors.startswith("endless: stopped early: interrupted")


def test_a_second_one_ends_it_at_once() -> None:
    # the handler holds the event loop: the run can't end before it does
    with start("--set", "load.users.jobs=hang", "--handler-limit", "1e9") as process:
        wait_for("hanging", process)
        process.send_signal(signal.SIGINT)
        wait_for("asked to end", process)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (told, errors) == ("", "aborted\n")
