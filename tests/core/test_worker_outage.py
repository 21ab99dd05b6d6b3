"""A worker outlives its broker's outages: nothing is lost, nothing runs twice, and it still closes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from workbench import Bench, now

from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.worker import WorkerOptions
from queuesim.simulation.runner import run


class Unreliable:
    """A broker that can't be reached at times, or whose answers are lost after the operation took effect."""

    def __init__(self, broker: Any, outages: list[tuple[float, float]] = (), rng: random.Random | None = None) -> None:  # type: ignore[assignment]
        self.broker = broker
        self.outages = outages
        self.rng = rng
        """Drops one in four calls, before or after."""
        self.failures: dict[str, int] = {}
        self.lose_answer_of: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.broker, name)
        if name not in ("exchange", "renew", "recover_stalled", "wait"):
            return method

        async def call(*args: Any) -> Any:
            lost = self.rng.choice(("before", "after", "", "", "", "", "", "")) if self.rng else ""
            if lost == "before" or any(begin <= now() < end for begin, end in self.outages):
                self.fail(name)
            answer = await method(*args)
            if lost == "after":
                self.fail(name)
            if name in self.lose_answer_of:
                self.lose_answer_of.remove(name)
                self.fail(name)
            return answer

        return call

    def fail(self, name: str) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        raise BrokerUnavailableError(f"{name}: nobody answers")


def bench_with(*outages: tuple[float, float], seconds: float = 1.0) -> tuple[Bench, Unreliable]:
    bench = Bench()
    bench.broker = broker = Unreliable(bench.broker, list(outages))
    bench.serve(seconds=seconds)
    return bench, broker


def test_an_outcome_is_handed_in_when_the_broker_is_back() -> None:
    async def program() -> None:
        bench, broker = bench_with((0.5, 20.0))
        await bench.queue.add_bulk([("job", None)] * 2)
        async with bench.working(concurrency=1):
            await asyncio.sleep(30.0)
        assert bench.completed == ["1", "2"]
        assert bench.starts["1"] == [0.0]
        assert 20.0 <= bench.starts["2"][0] <= 23.0, "soon after the outage"
        assert 5 < broker.failures["exchange"] < 20

    run(program())


@pytest.mark.parametrize("operation", ["exchange", "wait", "renew", "recover_stalled"])
def test_a_lost_answer_does_no_harm(operation: str) -> None:
    async def program() -> None:
        bench, broker = bench_with(seconds=20.0)
        broker.lose_answer_of = [operation]
        async with bench.working(concurrency=2):
            await asyncio.sleep(1.0)
            await bench.queue.add_bulk([("job", None)] * 5)
            await asyncio.sleep(120.0)
        assert broker.failures == {operation: 1}
        assert sorted(bench.completed) == ["1", "2", "3", "4", "5"]
        assert {len(starts) for starts in bench.starts.values()} == {1}
        assert not any(row.lost for row in bench.rows)

    run(program())


def test_jobs_of_a_lost_answer_run_once_and_soon() -> None:
    async def program() -> None:
        bench, broker = bench_with()
        await bench.queue.add_bulk([("job", None)] * 3)
        broker.lose_answer_of = ["exchange"]
        async with bench.working(concurrency=3):
            await asyncio.sleep(5.0)
        assert {job_id: len(starts) for job_id, starts in bench.starts.items()} == {"1": 1, "2": 1, "3": 1}
        assert all(starts[0] <= 0.2 for starts in bench.starts.values())

    run(program())


def test_locks_are_renewed_again_as_soon_as_the_broker_is_back() -> None:
    """An outage of less than half the lock costs nothing."""

    async def program() -> None:
        bench, broker = bench_with((7.0, 19.0), seconds=60.0)
        await bench.queue.add("job")
        async with bench.working(bench.worker("a"), bench.worker("b", options=WorkerOptions(stalled_interval=1.0))):
            await asyncio.sleep(70.0)
        assert broker.failures["renew"] > 2
        assert [(row.worker, row.lost) for row in bench.rows] == [("a", False)]

    run(program())


@pytest.mark.parametrize("seed", range(10))
def test_random_drops_lose_nothing_and_run_nothing_twice(seed: int) -> None:
    async def program() -> None:
        rng = random.Random(seed)
        bench = Bench()
        bench.broker = broker = Unreliable(bench.broker, rng=rng)
        bench.handle(lambda job: asyncio.sleep(rng.choice((0.0, 0.125, 0.5, 2.0))))
        async with bench.working(*(bench.worker(name, concurrency=3) for name in "ab")):
            for _ in range(60):
                await bench.queue.add_bulk([("job", None)] * rng.randrange(4))
                await asyncio.sleep(rng.choice((0.0, 0.125, 0.25, 1.0)))
            await asyncio.sleep(60.0)
        assert sum(broker.failures.values()) > 30
        assert set(await bench.counts()) == {"completed"}
        assert {len(starts) for starts in bench.starts.values()} == {1}
        assert not any(row.lost for row in bench.rows)

    run(program())


@pytest.mark.parametrize("jobs", [0, 1, 4])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_close_with_a_timeout_works_during_an_outage(jobs: int, concurrency: int) -> None:
    async def program() -> None:
        bench, _ = bench_with((0.5, 1e9))
        await bench.queue.add_bulk([("job", None)] * jobs)
        worker = bench.worker(concurrency=concurrency)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(10.0)
        await worker.close(timeout=5.0)
        await task
        assert now() <= 15.0
        await asyncio.sleep(10.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing of the worker goes on"

    run(program())


def test_close_hands_in_what_ran_if_the_broker_comes_back_in_time() -> None:
    async def program() -> None:
        bench, _ = bench_with((0.5, 20.0))
        await bench.queue.add_bulk([("job", None)] * 8)
        worker = bench.worker(concurrency=3)
        task = asyncio.create_task(worker.run())
        await asyncio.sleep(10.0)
        assert await worker.close(timeout=60.0) is True
        await task
        # each slot had asked for one more before it closed
        assert await bench.counts() == {"completed": 6, "waiting": 2}
        assert 20.0 <= now() <= 24.0

    run(program())


def test_other_errors_of_the_broker_end_the_worker_as_before() -> None:
    class Broken(Unreliable):
        def fail(self, name: str) -> None:
            raise RuntimeError("a bug")

    async def program() -> None:
        bench = Bench()
        bench.broker = Broken(bench.broker, [(0.0, 1.0)])
        with pytest.raises(ExceptionGroup, match="unhandled"):
            await bench.worker().run()

    run(program())


def test_tokens_start_with_what_was_given() -> None:
    async def program() -> None:
        bench = Bench()
        tokens: list[str] = []
        bench.handle(lambda job: asyncio.sleep(0.0, tokens.append(job.token)))
        await bench.queue.add("job")
        async with bench.working(bench.worker("anna", token="anna-2")):
            await asyncio.sleep(1.0)
        assert tokens == ["anna-2:1"]

    run(program())
