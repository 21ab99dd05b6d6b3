"""State that handlers keep from run to run: the user is told what it is, and only when there is some."""

from __future__ import annotations

import functools
import importlib
import itertools
import random
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from queuesim import Job, Processor, run
from queuesim.runs.handler_state import HandlerStateWarning

SCENARIO: dict[str, Any] = {
    "name": "x",
    "duration": "5s",
    "jobs": {"a": {}},
    "load": [{"name": "l", "constant": "1/s"}],
}
SETTINGS = {"url": "https://example.org"}
seen: list[int] = []
total = 0


def processor_of(handler: Any) -> Processor:
    processor = Processor("mail")
    processor.job("a")(handler)
    return processor


async def appends_to_a_global(job: Job) -> None:
    seen.append(job.number)


async def assigns_a_global(job: Job) -> None:
    global total
    total += 1


def helper() -> None:
    seen.append(0)


async def calls_a_function_that_appends(job: Job) -> None:
    helper()


async def has_a_mutable_default(job: Job, done: list[int] = []) -> None:  # noqa: B006
    done.append(job.number)


async def counts_in_its_attribute(job: Job) -> None:
    counts_in_its_attribute.calls = job.number  # type: ignore[attr-defined]


def closure() -> Any:
    calls = 0

    async def counts_in_a_closure(job: Job) -> None:
        nonlocal calls
        calls += 1

    return counts_in_a_closure


@dataclass(slots=True)
class Mailbox:
    sent: Counter[str] = field(default_factory=Counter)

    async def handle(self, job: Job) -> None:
        self.sent[job.name] += 1


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, job: Job) -> None:
        self.calls += 1


def closure_over(value: Any, use: Any) -> Any:
    async def uses(job: Job) -> None:
        use(value)

    return uses


async def into(box: dict[str, int], job: Job) -> None:
    box["last"] = job.number


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (appends_to_a_global, f"{__name__}.seen"),
        (assigns_a_global, f"{__name__}.total"),
        (calls_a_function_that_appends, f"{__name__}.seen"),
        (has_a_mutable_default, "default arguments of has_a_mutable_default"),
        (counts_in_its_attribute, "counts_in_its_attribute"),
        (closure(), "calls (closure of closure.counts_in_a_closure)"),
        (Mailbox().handle, "self of Mailbox.handle"),
        (Counting(), "self of Counting"),
        (closure_over(random.Random(1), random.Random.random), "value (closure of closure_over.uses)"),
        (closure_over(itertools.count(), next), "value (closure of closure_over.uses)"),
        (closure_over({"a": {"b": [1]}}, lambda value: value["a"]["b"].append(2)), "value (closure of"),
        (functools.partial(into, {}), "arguments of into"),
    ],
)
def test_a_second_run_says_what_the_first_one_left(handler: Any, name: str) -> None:
    processor = processor_of(handler)
    run(SCENARIO, processor=processor)
    with pytest.warns(HandlerStateWarning) as told:
        run(SCENARIO, processor=processor)
    message = str(told[0].message)
    assert name in message
    assert "'mail'" in message
    assert told[0].filename == __file__


def test_what_is_reset_before_the_run_is_no_concern() -> None:
    calls: list[int] = []
    processor = processor_of(closure_over(calls, lambda value: value.append(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            calls.clear()
            run(SCENARIO, processor=processor)


async def reads_only(job: Job) -> str:
    return SETTINGS["url"] + str(random.random)


def test_handlers_that_only_read_are_no_concern() -> None:
    processor = processor_of(reads_only)
    processor.job("b")(closure_over([1, 2], len))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            run({**SCENARIO, "jobs": {"a": {}, "b": {}}}, processor=processor)


def test_a_module_that_the_user_imported_keeps_its_state_and_no_run_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept_state.py").write_text(
        "from queuesim import Processor\nprocessor = Processor()\nseen = []\n"
        "@processor.job('a')\nasync def a(job):\n    seen.append(job.id)\n    assert len(seen) < 6\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("kept_state")
    mine.seen += range(100)
    (tmp_path / "scenario.yaml").write_text(
        "name: x\nduration: 5s\nprocessor: kept_state:processor\njobs: {a: {}}\nload: [{name: l, constant: 1/s}]\n"
    )
    for _ in range(2):
        assert run(tmp_path / "scenario.yaml").ok
    assert len(mine.seen) == 100
