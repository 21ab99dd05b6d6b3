"""Dead letters as a processor writes them: which jobs get one, and what their history tells."""

from __future__ import annotations

import asyncio

from workbench import Bench

from queuesim.core.deadletters import DeadLetters
from queuesim.core.errors import NetworkError, ValidationError
from queuesim.core.job import Backoff, Job
from queuesim.simulation.runner import run


def test_the_history_of_an_exhausted_job() -> None:
    async def program() -> None:
        bench = Bench(dead_letters="dead")

        async def handler(job: Job) -> None:
            await asyncio.sleep(0.5)
            raise NetworkError("down") if job.attempts_made == 0 else ValidationError("bad")

        bench.handle(handler)
        await bench.queue.add("job", {"n": 1}, attempts=3, backoff=Backoff("fixed", 2.0))
        async with bench.working(bench.worker("anna")):
            await asyncio.sleep(10.0)
        (letter,) = await DeadLetters(bench.broker, "dead").list()
        assert (letter.queue, letter.name, letter.data, letter.reason) == ("bench", "job", {"n": 1}, "bad")
        assert (letter.added, letter.buried) == (0.0, 3.0)
        shared = {"worker": "anna"}
        assert letter.history == [
            {"attempt": 1, "started": 0.0, "type": "NetworkError", "category": "Network", "retryable": True,
             "message": "down", **shared},
            {"attempt": 2, "started": 2.5, "type": "ValidationError", "category": "Validation", "retryable": False,
             "message": "bad", **shared},
        ]  # fmt: skip

    run(program())


def test_only_what_failed_for_good_is_buried() -> None:
    async def program() -> None:
        bench = Bench(dead_letters="dead")

        async def handler(job: Job) -> None:
            if job.name == "bad" or (job.name == "flaky" and job.attempts_made == 0):
                raise NetworkError("down")

        for name in ("good", "flaky", "bad"):
            bench.handle(handler, name)
            await bench.queue.add(name, attempts=2)
        async with bench.working():
            await asyncio.sleep(1.0)
        assert [letter.name for letter in await DeadLetters(bench.broker, "dead").list()] == ["bad"]

    run(program())


def test_data_that_no_schema_took_are_buried_as_they_were_added() -> None:
    async def program() -> None:
        bench = Bench(dead_letters="dead")
        bench.serve(data=dict[str, int])
        await bench.queue.add("job", {"n": "x"})
        await bench.queue.add("unknown", [1])
        async with bench.working():
            await asyncio.sleep(1.0)
        letters = await DeadLetters(bench.broker, "dead").list()
        assert [letter.data for letter in letters] == [{"n": "x"}, [1]]
        assert [len(letter.history) for letter in letters] == [1, 1]

    run(program())


def test_a_redriven_job_runs_with_all_its_attempts() -> None:
    async def program() -> None:
        bench = Bench(dead_letters="dead")
        broken = True

        async def handler(job: Job) -> None:
            if broken:
                raise NetworkError("down")

        bench.handle(handler)
        await bench.queue.add("job", attempts=2)
        letters = DeadLetters(bench.broker, "dead")
        async with bench.working():
            await asyncio.sleep(1.0)
            await letters.redrive()
            await asyncio.sleep(1.0)
            (letter,) = await letters.list()
            broken = False
            redriven = await letters.redrive([letter.id])
            await asyncio.sleep(1.0)
            assert await letters.count() == 0
        runs = {id.rpartition("-")[0] or id: len(starts) for id, starts in bench.starts.items()}
        assert runs == {"1": 2, "redriven-1": 2, "redriven-2": 1}
        assert bench.completed == list(redriven.values())

    run(program())


def test_without_dead_letters_a_job_only_stays_in_failed() -> None:
    async def program() -> None:
        bench = Bench()

        async def handler(job: Job) -> None:
            raise NetworkError("down")

        bench.handle(handler)
        await bench.queue.add("job")
        async with bench.working():
            await asyncio.sleep(1.0)
        assert await DeadLetters(bench.broker, "dead").count() == 0
        assert await bench.counts() == {"failed": 1}

    run(program())
