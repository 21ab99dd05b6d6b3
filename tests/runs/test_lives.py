"""Processors that are made anew for each life of each worker, and what they share."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import queuesim
from queuesim import Job, JobOptions, Processor
from queuesim.runs.handler_state import HandlerStateWarning
from queuesim.runs.lives import Lives
from queuesim.scenario.processors import FactoryError, FactoryWarning, ProcessorFactory, reference_of
from queuesim.simulation.process import Process

CRASHES = [{"worker.crash": {"at": [10.0, 30.0, 50.0]}}]


def scenario(**more: Any) -> dict[str, Any]:
    return {
        "name": "lives",
        "duration": 60.0,
        "drain": 3600.0,
        "jobs": {"pay": {}},
        "workers": {"name": "w", "count": 2, "concurrency": 4},
        "load": [{"name": "steady", "constant": 1.7}],
        **more,
    }


def remembering(charges: Counter[str]) -> Processor:
    """Its handlers remember in their process which jobs they have charged."""
    processor, seen = Processor("q", defaults=JobOptions(attempts=3)), set()

    @processor.job("pay")
    async def pay(job: Job) -> None:
        if job.id not in seen:
            charges[job.id] += 1
            seen.add(job.id)
            await asyncio.sleep(2.0)

    return processor


def test_what_a_killed_worker_knew_is_gone() -> None:
    charges: Counter[str] = Counter()
    result = queuesim.run(scenario(faults=CRASHES), processor=remembering, shared=lambda: charges)
    lost = result.attempts[result.attempts["outcome"] == "lost"]
    assert len(lost) > 0
    assert {number for number, count in charges.items() if count > 1} == {str(number) for number in lost["job"]}


def test_a_killed_worker_holds_no_lock_of_its_successor() -> None:
    def make() -> Processor:
        processor, semaphore = Processor("q", defaults=JobOptions(attempts=3)), asyncio.Semaphore(2)

        @processor.job("pay")
        async def pay(job: Job) -> None:
            async with semaphore:
                await asyncio.sleep(1.0)

        return processor

    for _ in range(2):
        result = queuesim.run(scenario(faults=CRASHES, thresholds=["unfinished == 0"]), processor=make)
        assert result.ok, "neither the run before nor a killed worker leaves the semaphore bound or taken"


def test_two_workers_do_not_share_the_lock_of_a_process() -> None:
    def make(store: dict[str, int]) -> Processor:
        processor, lock = Processor("q"), asyncio.Lock()

        @processor.job("pay")
        async def pay(job: Job) -> None:
            async with lock:
                before = store["jobs"]
                await asyncio.sleep(0.05)
                store["jobs"] = before + 1

        return processor

    def jobs_counted(workers: int) -> tuple[int, int]:
        store = {"jobs": 0}
        settings = scenario(workers={"name": "w", "count": workers, "concurrency": 4})
        settings["load"] = [{"name": "steady", "poisson": 8.0}]
        return store["jobs"], len(queuesim.run(settings, processor=make, shared=lambda: store).jobs) - store["jobs"]

    assert jobs_counted(1)[1] == 0
    assert jobs_counted(3)[1] > 0


MODULE = """\
import asyncio
from queuesim import ErrorRule, Job, JobOptions, Processor

class Refused(Exception): pass

processor = Processor("q", defaults=JobOptions(attempts=3), rules=[ErrorRule(Refused, "Refused", retryable=False)])
calls = []

@processor.job("pay")
async def pay(job: Job) -> int:
    calls.append(job.id)
    await asyncio.sleep(0.1)
    if len(calls) == 1:
        raise Refused("the first in this process")
"""


def test_a_module_is_imported_anew_for_each_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_lives.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    result = queuesim.run(
        scenario(faults=[{"worker.crash": {"at": 10.05, "worker": "w-1", "restart": 1.0}}]),
        processor="module_of_lives:processor",
    )
    failed = result.attempts[result.attempts["outcome"] == "failed"]
    # one for each life, and its own class of errors is known to its own rules
    assert failed["worker"].tolist() == ["w-1", "w-2", "w-1"]
    assert set(failed["category"]) == {"Refused"}


class Service:
    """A class with state, one object a life."""

    made = 0

    def __init__(self, store: list[int]) -> None:
        type(self).made += 1
        self.processor = Processor("q")
        self.processor.job("pay")(self.pay)
        self.store = store

    async def pay(self, job: Job) -> None:
        self.store.append(job.number)


def test_a_class_is_a_factory() -> None:
    store: list[int] = []
    Service.made = 0
    result = queuesim.run(scenario(faults=CRASHES), processor=Service, shared=lambda: store)
    assert Service.made == 2 + 3, "two workers, and three successors"
    assert sorted(store) == result.jobs["job"].tolist()
    assert reference_of(Service) == f"{__name__}:Service"
    assert reference_of(lambda: None) is None


def test_a_processor_may_come_with_its_own_check() -> None:
    made = []

    def make() -> tuple[Processor, Any]:
        processor, done = Processor("q"), []
        made.append(processor)

        @processor.job("pay")
        async def pay(job: Job) -> None:
            done.append(job.number)

        return processor, lambda: ["the second job was done"] if 2 in done else []

    result = queuesim.run(scenario(), processor=make)
    assert len(made) == 1
    assert result.checks.set_index("check").loc["invariant", "detail"] == "the second job was done"


def test_frames_are_those_of_the_processor_itself() -> None:
    """Data is parsed, attempts are limited in time, and ordinary functions run as well."""

    def make() -> Processor:
        processor = Processor("q", defaults=JobOptions(attempts=2), concurrency=3)

        @processor.job("pay", data=dict[str, int], timeout=0.5)
        async def pay(job: Job) -> int:
            await asyncio.sleep(job.number % 10 / 10)
            return int(job.data["sum"])

        @processor.job("log")
        def log(job: Job) -> str:
            return job.name

        return processor

    settings = scenario(
        jobs={"pay": {"data": {"sum": "7"}}, "log": {}},
        faults=[*CRASHES, {"handler.slow": {"probability": 0.5, "delay": 0.1}}],
    )
    made, given = queuesim.run(settings, processor=make), queuesim.run(settings, processor=make())
    for name in ("jobs", "attempts", "events", "faults"):
        assert getattr(made, name).equals(getattr(given, name)), name
    assert {"ok", "retried", "failed"} <= set(made.attempts["outcome"])


# -- what is wrong


@pytest.mark.parametrize(
    ("source", "shared", "words"),
    [
        (5, None, "a processor is a Processor, a function that makes one, or module:attribute, not an int"),
        (lambda: 5, None, "returned an int: it must return a Processor, made inside of it"),
        (lambda: None, None, "returned None: it must return a Processor"),
        (lambda store: Processor(), None, "takes an argument, what its processors share: say how it is made"),
        (lambda store, more: Processor(), dict, "takes 2 arguments: it gets one at most, what is shared"),
        (lambda: Processor(), {}, "shared must be a function or class that makes the store anew for each run"),
        (lambda: 1 / 0, None, "failed: ZeroDivisionError: division by zero"),
        (lambda store: Processor(), lambda: [][0], "shared, .*<lambda>, failed: IndexError"),
    ],
)  # fmt: skip
def test_a_factory_that_is_wrong_is_refused(source: Any, shared: Any, words: str) -> None:
    with pytest.raises(FactoryError, match=words):
        queuesim.run(scenario(), processor=source, shared=shared)


def test_a_factory_that_returns_the_same_object_twice_is_reported_once() -> None:
    processor = remembering(Counter())
    with pytest.warns(FactoryWarning, match="returned the same Processor twice") as caught:
        queuesim.run(scenario(faults=CRASHES), processor=lambda: processor)
    assert len(caught) == 1


def test_a_store_that_is_not_made_anew_is_reported() -> None:
    store: Counter[str] = Counter()
    factory = ProcessorFactory(remembering, lambda: store)
    Lives(factory)
    with pytest.warns(FactoryWarning, match="returned the same Counter for two runs"):
        Lives(factory)


def test_a_bare_processor_that_keeps_state_is_reported() -> None:
    processor = remembering(Counter())
    queuesim.run(scenario(), processor=processor)
    with pytest.warns(HandlerStateWarning, match=r"seen \(closure of remembering.pay\).*hand over a function"):
        queuesim.run(scenario(), processor=processor)


def test_the_memory_of_an_ended_life_is_let_go() -> None:
    made: list[weakref.ref[Processor]] = []

    def make() -> Processor:
        processor = Processor("q")
        made.append(weakref.ref(processor))
        return processor

    lives = Lives(ProcessorFactory(make))
    for _ in range(3):
        lives.begin(Process("w"), lives.prototype)
    gc.collect()
    # the first one stands for all of them
    assert [processor() is None for processor in made] == [False, True, False]
