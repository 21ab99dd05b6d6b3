"""Several exchanges at a time: who travels with whom, how many at once, what errors do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from queuesim.core.broker import Completed, Outcome, Reply, Terms
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.exchange import PipelinedExchanges
from queuesim.core.job import Job
from queuesim.simulation.runner import run


class FarAway:
    """A broker that takes a second for each exchange and gives as many jobs as are asked for."""

    queue = "far"

    def __init__(self) -> None:
        self.calls: list[tuple[float, list[str], int, str, bool]] = []
        self.under_way = 0
        self.most = 0
        self.failing: list[Exception] = []
        self._jobs = 0

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        self.calls.append((now, [outcome.job_id for outcome in outcomes], take, token, again))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(1.0)
        self.under_way -= 1
        if self.failing:
            raise self.failing.pop()
        reply = Reply()
        for _ in range(take):
            self._jobs += 1
            reply.jobs.append(Job(str(self._jobs), "a", None, token=token))
        return reply


def pipeline(broker: FarAway, concurrency: int = 6) -> PipelinedExchanges:
    far: Any = broker
    clock = asyncio.get_running_loop().time
    return PipelinedExchanges(far, Terms(), "w", clock, random.Random(1), max_in_flight=2, concurrency=concurrency)


def done(name: str) -> list[Outcome]:
    return [Completed(name, "t")]


def test_those_who_finish_at_one_moment_share_an_exchange_up_to_their_share() -> None:
    async def program() -> None:
        broker = FarAway()
        exchanges = pipeline(broker)
        jobs = await asyncio.gather(*(exchanges.exchange(done(name), 1) for name in "abcdef"))
        assert [names for _, names, _, _, _ in broker.calls] == [["a", "b", "c"], ["d", "e", "f"]]
        assert [len(given) for given in jobs] == [1] * 6
        assert len({given[0].id for given in jobs}) == 6
        assert asyncio.get_running_loop().time() == 1.0

    run(program())


def test_two_are_under_way_at_most_and_the_third_leaves_when_one_is_back() -> None:
    async def program() -> None:
        broker = FarAway()
        exchanges = pipeline(broker)

        async def come(name: str, when: float) -> float:
            await asyncio.sleep(when)
            await exchanges.exchange(done(name), 1)
            return asyncio.get_running_loop().time()

        ends = await asyncio.gather(come("a", 0.0), come("b", 0.3), come("c", 0.6), come("d", 0.7))
        assert ends == pytest.approx([1.0, 1.3, 2.0, 2.0])
        assert [names for _, names, _, _, _ in broker.calls] == [["a"], ["b"], ["c", "d"]]
        assert broker.most == 2

    run(program())


def test_a_lone_job_leaves_at_once_and_tokens_differ() -> None:
    async def program() -> None:
        broker = FarAway()
        exchanges = pipeline(broker)
        await exchanges.exchange([], 6)
        await exchanges.exchange(done("a"), 0)
        assert [(now, take) for now, _, take, _, _ in broker.calls] == [(0.0, 6), (1.0, 0)]
        assert len({token for _, _, _, token, _ in broker.calls}) == 2

    run(program())


def test_what_the_broker_can_not_answer_is_made_again_with_the_same_token() -> None:
    async def program() -> None:
        broker = FarAway()
        broker.failing = [BrokerUnavailableError("gone")]
        exchanges = pipeline(broker)
        jobs = await asyncio.gather(*(exchanges.exchange(done(name), 1) for name in "ab"))
        assert all(jobs)
        (_, first, _, token, before), (_, second, _, again, after) = broker.calls
        assert (first, token, before, after) == (second, again, False, True)

    run(program())


def test_other_errors_reach_all_who_travelled_and_nobody_else() -> None:
    async def program() -> None:
        broker = FarAway()
        broker.failing = [LookupError("broken")]
        exchanges = pipeline(broker, concurrency=2)
        results = await asyncio.gather(*(exchanges.exchange(done(name), 1) for name in "ab"), return_exceptions=True)
        assert [type(result) for result in results] == [LookupError, list]

    run(program())


def test_after_the_stop_nothing_is_tried_again() -> None:
    async def program() -> None:
        broker = FarAway()
        broker.failing = [BrokerUnavailableError("gone")] * 100
        exchanges = pipeline(broker)
        waiting = asyncio.create_task(exchanges.exchange(done("a"), 1))
        await asyncio.sleep(10.0)
        exchanges.stop()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        tries = len(broker.calls)
        await asyncio.sleep(60.0)
        assert len(broker.calls) == tries

    run(program())
