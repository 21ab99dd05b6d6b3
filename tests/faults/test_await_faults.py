"""Faults at the awaits of handlers: where they strike, and what handlers see of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import queuesim
from queuesim import Backoff, Job, JobOptions, Processor
from queuesim.results.result import Result

Steps = list[tuple[int, int, str]]
"""What handlers did: the job's number, the attempt, and what was reached."""


def make(steps: Steps) -> Processor:
    """Three awaits, and the third of them does not wait."""
    processor = Processor("q", defaults=JobOptions(attempts=3, backoff=Backoff("fixed", 5.0)))

    @processor.job("pay")
    async def pay(job: Job) -> str:
        me = job.number, job.attempts_started
        try:
            await asyncio.sleep(1.0)
            steps.append((*me, "first"))
            await effect(me)
            steps.append((*me, "second"))
            await asyncio.sleep(0)
            steps.append((*me, "third"))
            return "paid"
        except Exception as error:
            steps.append((*me, type(error).__name__))
            raise
        finally:
            steps.append((*me, "finally"))

    async def effect(me: tuple[int, int]) -> None:
        await asyncio.sleep(1.0)
        steps.append((*me, "effect"))

    return processor


def play(fault: dict[str, Any], size: int = 1) -> tuple[Result, Steps]:
    steps: Steps = []
    scenario = {
        "name": "awaits",
        "duration": 60.0,
        "drain": 600.0,
        "jobs": {"pay": {}},
        "workers": {"name": "w", "concurrency": 4, "lock_duration": 5.0, "stalled_interval": 5.0},
        "load": [{"name": "once", "bulk": {"at": 0.0, "size": size}}],
        "faults": [fault],
    }
    return queuesim.run(scenario, processor=make, shared=lambda: steps), steps


def of_first_attempt(steps: Steps) -> list[str]:
    return [step for number, attempt, step in steps if (number, attempt) == (1, 1)]


@pytest.mark.parametrize("effect", ["none", "done"])
@pytest.mark.parametrize(
    ("kind", "error", "name"),
    [
        ("await.error", "NetworkError", "Network"),
        ("await.timeout", "TimeoutError", "Network"),
        ("await.cancel", "CancelledError", "Unknown"),
    ],
)
@pytest.mark.parametrize(
    ("nth", "reached"), [(1, []), (2, ["first"]), (3, ["first", "effect", "second"])], ids=["first", "second", "third"]
)
def test_an_error_strikes_one_await(
    kind: str, error: str, name: str, nth: int, reached: list[str], effect: str
) -> None:
    result, steps = play({kind: {"at": 0.0, "for": 0.5, "nth": nth, "effect": effect}})
    caught = [] if kind == "await.cancel" else [error]
    assert of_first_attempt(steps) == [*reached, *caught, "finally"], "nothing runs after the innermost await"
    first = result.attempts.iloc[0]
    assert (first["outcome"], first["category"]) == ("retried", name)
    # what is awaited takes its time only where it takes effect
    assert first["ended"] == [0.0, 1.0, 2.0, 2.0][nth - 1 + (effect == "done")]
    assert result.faults["detail"].tolist() == ["1 attempts"]
    assert result.ok


def test_there_are_no_more_awaits_than_the_handler_has() -> None:
    result, steps = play({"await.error": {"at": 0.0, "for": 0.5, "nth": 4}})
    assert of_first_attempt(steps) == ["first", "effect", "second", "third", "finally"]
    assert result.faults["detail"].tolist() == ["0 attempts"]


@pytest.mark.parametrize("effect", ["none", "done"])
@pytest.mark.parametrize(("nth", "reached"), [(1, []), (2, ["first"]), (3, ["first", "effect", "second"])])
def test_a_worker_dies_at_one_await(nth: int, reached: list[str], effect: str) -> None:
    result, steps = play({"await.kill": {"at": 0.0, "for": 0.5, "nth": nth, "effect": effect}})
    assert of_first_attempt(steps) == reached, "no finally runs in it"
    assert result.attempts["outcome"].tolist() == ["lost", "ok"]
    killed = result.faults[result.faults["target"] == "w"].iloc[0]
    assert killed["began"] == result.attempts["ended"].iloc[0] == [0.0, 1.0, 2.0, 2.0][nth - 1 + (effect == "done")]
    assert result.ok


@pytest.mark.parametrize("kind", ["await.error", "await.timeout", "await.cancel", "await.kill"])
def test_what_a_process_shares_is_whole_afterwards(kind: str) -> None:
    """A semaphore is given back whatever strikes: a wait for it raises no error of a call, and is cancelled as tasks
    cancel it."""

    def make() -> Processor:
        processor, slots = Processor("q", defaults=JobOptions(attempts=20), concurrency=4), asyncio.Semaphore(2)

        @processor.job("pay")
        async def pay(job: Job) -> None:
            async with slots:
                await asyncio.sleep(1.0)

        return processor

    scenario = {
        "name": "shared",
        "duration": 60.0,
        "drain": 3600.0,
        "jobs": {"pay": {}},
        "workers": {"name": "w", "lock_duration": 5.0, "stalled_interval": 5.0},
        "load": [{"name": "steady", "constant": 1.5}],
        "faults": [{kind: {"probability": 0.4}}],
    }
    result = queuesim.run(scenario, processor=make)
    assert result.facts.stopped is None
    assert (result.attempts["outcome"] != "ok").sum() > 5
    # a job that stalls twice fails by BullMQ's rule
    assert set(result.jobs["state"]) <= {"completed", *(["failed"] if kind == "await.kill" else [])}


def test_awaits_are_drawn_anew_for_each_attempt() -> None:
    result, _ = play({"await.error": {"probability": 0.9}}, size=20)
    struck = result.attempts[result.attempts["outcome"] != "ok"]
    assert set(struck["service"].round(3)) == {0.0, 1.0, 2.0}
    assert set(struck["attempt"]) == {1, 2, 3}


def test_where_a_handler_hangs_is_still_named() -> None:
    """A fault looks at each await, and whoever asks where a task is suspended looks through it."""

    def hanging() -> Processor:
        processor = Processor("q")

        @processor.job("pay")
        async def pay(job: Job) -> None:
            await asyncio.Event().wait()

        return processor

    scenario = {
        "name": "hangs",
        "duration": 10.0,
        "drain": True,
        "jobs": {"pay": {}},
        "load": [{"name": "once", "bulk": {"at": 0.0, "size": 1}}],
        "faults": [{"await.error": {"probability": 1.0, "nth": 2}}],
    }
    stopped = queuesim.run(scenario, processor=hanging).facts.stopped
    assert stopped is not None
    assert "await asyncio.Event().wait()" in str(stopped)
