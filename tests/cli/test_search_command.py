"""``queuesim search``: a processor is searched for failures from the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

SHOP = """\
import asyncio
from collections import Counter as Store

from queuesim import Job, JobOptions, Processor


def make(store):
    processor = Processor("shop", defaults=JobOptions(attempts=3))

    @processor.job("charge")
    async def charge(job: Job):
        store[job.id] += 1
        await asyncio.sleep(0.1)

    return processor


def careful(store):
    processor = Processor("shop", defaults=JobOptions(attempts=3))

    @processor.job("charge")
    async def charge(job: Job):
        await asyncio.sleep(0.1)
        store[job.id] = 1

    return processor


def charged_once(store):
    \"\"\"No customer is charged twice.\"\"\"
    return [f"job {job} was charged {count} times" for job, count in store.items() if count > 1]


NUMBER = 7
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)


def test_a_find_is_1_and_its_command_replays_it(invoke: Command) -> None:
    done = invoke("search", "shop:make", "--shared", "shop:Store", "--always", "shop:charged_once", "-q")
    assert done.returncode == 1
    assert done.stdout.startswith("No customer is charged twice (always): violated at ")
    command = done.stdout.splitlines()[-1].removeprefix("replay: queuesim ").split()
    again = invoke(*command, "-q")
    assert again.returncode == 1
    assert "No customer is charged twice" in again.stderr


def test_none_is_0_and_what_was_tried_is_shown(invoke: Command) -> None:
    done = invoke("search", "shop:careful", "--shared", "shop:Store", "--at-end", "shop:charged_once", "--examples", 3)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 examples in ")
    assert "never reached: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--always", "shop"], "shop is not a reference: write it as module:function"),
        (["--always", "shop:nothing"], 'module shop has no "nothing"'),
        (
            ["--eventually", "shop:NUMBER"],
            "an invariant is a function, or always(...), eventually(...) or at_end(...), not 7",
        ),
        (["--fault", "worker.frees"], 'did you mean "worker.freeze"?'),
        (["--budget", "0s"], "it must be above 0 s"),
        (["--budget", "soon"], "--budget"),
        (["--examples", "0"], "--examples"),
    ],
)
def test_a_wrong_option_is_2(invoke: Command, arguments: list[str], message: str) -> None:
    done = invoke("search", "shop:careful", "--shared", "shop:Store", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


def test_a_processor_that_needs_what_is_shared_says_so(invoke: Command) -> None:
    done = invoke("search", "shop:make")
    assert done.returncode == 2
    assert "make takes an argument, what its processors share" in done.stderr
