"""What users test their own handlers with: drawn scenarios, a small failing one saved, and its replay."""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from pydantic import ValidationError

import queuesim
from queuesim import Job, JobOptions, Processor, always
from queuesim.brokers.memory import MemoryBroker
from queuesim.testing.machine import QueueMachine
from queuesim.testing.shrinking import shrink
from queuesim.testing.strategies import scenarios
from queuesim.testing.surviving import DidNotSurviveError, assert_survives


def processor_of(handler: object) -> Processor:
    processor = Processor("mail", defaults=JobOptions(attempts=3))
    processor.job("send")(handler)  # type: ignore[type-var]
    return processor


def test_handlers_that_cope_survive(tmp_path: Path) -> None:
    async def send(job: Job) -> None:
        await asyncio.sleep(0.2)

    assert_survives(processor_of(send), examples=5, duration=20.0, drain=120.0, directory=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_handler_that_hangs_after_a_crash_is_found_made_small_and_saved(tmp_path: Path) -> None:
    """It waits for a file that only its first attempt would make: as long as nothing crashes, all is well."""

    async def send(job: Job) -> None:
        if job.attempts_started > 1:
            await asyncio.Event().wait()
        await asyncio.sleep(2.0)

    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives(
            processor_of(send),
            faults=["worker.crash", "handler.slow"],
            examples=40,
            load=[{"name": "steady", "constant": 0.5, "jobs": "send"}],
            workers={"name": "w", "lock_duration": 2.0, "stalled_interval": 1.0},
            duration=10.0,
            drain=10.0,
            thresholds=["unfinished == 0"],
            directory=tmp_path,
        )
    text = str(caught.value)
    assert "unfinished == 0" in text
    assert f"replay: queuesim run {caught.value.path.as_posix()} --processor MODULE:ATTRIBUTE" in text
    saved = yaml.safe_load(caught.value.path.read_text())
    assert [next(iter(fault)) for fault in saved["faults"]] == ["worker.crash"], "all else was taken out"
    assert not queuesim.run(caught.value.path, processor=processor_of(send)).ok


def test_a_handler_that_gets_on_no_more_is_named(tmp_path: Path) -> None:
    """No threshold asks for anything: that jobs are left which nobody will ever finish is enough."""

    async def send(job: Job) -> None:
        if job.attempts_started > 1:
            lock = asyncio.Lock()
            await lock.acquire()
            await lock.acquire()  # never returns
        await asyncio.sleep(2.0)

    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives(
            processor_of(send),
            faults=["worker.crash"],
            examples=40,
            load=[{"name": "steady", "constant": 0.5, "jobs": "send"}],
            workers={"name": "w", "lock_duration": 2.0, "stalled_interval": 1.0},
            duration=10.0,
            drain=20.0,
            directory=tmp_path,
        )
    text = str(caught.value)
    assert "stopped early: no progress since " in text
    assert "hangs in `await lock.acquire()  # never returns` at test_surviving.py:" in text


def test_what_can_not_be_drawn_is_refused_at_once(tmp_path: Path) -> None:
    """It was drawn again and again: no example ever fits."""

    async def send(job: Job) -> None:
        await asyncio.sleep(0.1)

    mail = processor_of(send)
    with pytest.raises(TypeError, match=r'"worker" is neither an argument .*; did you mean "workers"'):
        assert_survives(mail, worker={"count": 1}, directory=tmp_path)
    with pytest.raises(ValueError, match=r'no kind of faults "worker.krash"; did you mean "worker.crash"'):
        assert_survives(mail, faults=["worker.krash"], directory=tmp_path)
    with pytest.raises(ValidationError, match="count"):
        assert_survives(mail, workers={"count": -1}, directory=tmp_path)
    with pytest.raises(ValueError, match="has no handlers: there is no job to play"):
        assert_survives(lambda: Processor("empty"), directory=tmp_path)


def test_lines_of_a_story_that_are_the_same_are_one(tmp_path: Path) -> None:
    def make() -> Processor:
        async def poll(job: Job) -> None:
            for _ in range(1500):
                await asyncio.sleep(0)
            raise AttributeError("no such thing")

        return processor_of(poll)

    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives(make, faults=[], directory=tmp_path)
    assert re.search(
        r"\n *\S+    test_surviving.py:\d+  await asyncio.sleep\(0\)  \(1,500 times\)\n", str(caught.value)
    )


def test_a_find_that_does_not_fail_again_says_what_failed(tmp_path: Path) -> None:
    calls = itertools.count()

    def make(store: list[int]) -> Processor:
        async def send(job: Job) -> None:
            store.append(next(calls))

        return processor_of(send)

    def first(store: list[int]) -> bool:
        """The store is new."""
        return 0 not in store

    with pytest.raises(DidNotSurviveError) as caught:
        assert_survives(make, shared=list, invariant=always(first), directory=tmp_path)
    assert str(caught.value).startswith(
        "failed in the search, and not when it was played again: The store is new\nNOT DETERMINISTIC: "
    )


@settings(max_examples=5, phases=[Phase.generate])
@given(scenarios(20.0))
def test_drawn_scenarios_can_be_played_and_hold(scenario: dict[str, object]) -> None:
    assert queuesim.run(scenario).ok


def test_a_failing_scenario_is_made_small() -> None:
    fault = {"worker.crash": {"at": 0.37}}
    scenario = {
        "name": "big",
        "duration": 100.0,
        "faults": [{"redis.script-flush": {"at": 1.0}}, fault, {"redis.script-flush": {"at": 2.0}}],
        "jobs": {"x": {"service": 1.0}, "y": {"service": 1.0}},
        "workers": {"count": 3, "limiter": {"max": 1, "duration": 1.0}},
        "load": [{"name": "some", "poisson": 3.0}],
    }

    def fails(smaller: dict[str, Any]) -> bool:
        return any("worker.crash" in fault for fault in smaller["faults"]) and "y" in smaller["jobs"]

    assert shrink(scenario, fails) == {
        "name": "big",
        "duration": 1.0,
        "faults": [{"worker.crash": {"at": 0.4}}],
        "jobs": {"y": {"service": 1.0}},
        "workers": {"count": 1},
        "load": [{"name": "once", "bulk": {"at": 0.0, "size": 1}}],
    }


def test_a_scenario_is_made_smaller_in_no_more_than_so_many_tries() -> None:
    asked = []

    def fails(smaller: dict[str, Any]) -> bool:
        asked.append(smaller)
        return True

    scenario = {
        "name": "big",
        "duration": 100.0,
        "jobs": {"x": {"service": 1.0}},
        "load": [{"name": "l", "poisson": 3.0}],
    }
    shrink(scenario, fails, tries=2)
    assert len(asked) == 2


class OnMemory(QueueMachine):
    async def make_broker(self) -> MemoryBroker:  # type: ignore[override]
        return MemoryBroker("machine")


TestOnMemory = OnMemory.TestCase
TestOnMemory.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)


# -- the plugin


def test_the_simulated_queue(simulated_queue: queuesim.Queue) -> None:
    from queuesim.simulation.runner import run

    async def program() -> int:
        await simulated_queue.add("a")
        return len(await simulated_queue.get_jobs(queuesim.JobState.WAITING))

    assert run(program()) == 1
