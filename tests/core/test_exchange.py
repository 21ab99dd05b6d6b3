"""Exchanges: one at a time, followers collected, refusals told once, and errors given to those whom they concern."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from queuesim.core.broker import Completed, Outcome, Reply, Terms
from queuesim.core.exchange import Exchanges
from queuesim.core.job import Job
from queuesim.simulation.runner import run


class Scripted:
    """A broker whose exchanges take a second, hand out jobs by number, and fail when they are told to."""

    def __init__(self, failing: Sequence[int] = (), stock: int = 100) -> None:
        self.failing = failing
        self.stock = stock
        self.calls: list[tuple[list[str], int, str, float]] = []
        self.overlapping = 0

    async def exchange(self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float) -> Reply:
        self.calls.append(([outcome.job_id for outcome in outcomes], take, token, now))
        number = len(self.calls)
        self.overlapping += 1
        assert self.overlapping == 1, "one exchange at a time"
        await asyncio.sleep(1.0)
        self.overlapping -= 1
        if number in self.failing:
            raise ConnectionError("gone")
        reply = Reply()
        for outcome in outcomes:
            if outcome.token == "old":
                reply.refuse(outcome, -6)
        for _ in range(min(take, self.stock)):
            self.stock -= 1
            reply.jobs.append(Job(str(100 - self.stock), "job", {}, token=token))
        return reply


def exchanges(broker: Any) -> Exchanges:
    return Exchanges(broker, Terms(), "anna", asyncio.get_running_loop().time)


def done(job_id: str, token: str = "t") -> Completed:
    return Completed(job_id, token)


def test_queued_requests_share_the_next_exchange_and_get_jobs_in_their_order() -> None:
    async def program() -> None:
        broker = Scripted()
        hub = exchanges(broker)
        got = await asyncio.gather(
            hub.exchange([], 2), hub.exchange([done("a")], 1), hub.exchange([done("b")], 0), hub.exchange([], 3)
        )
        assert [[job.id for job in jobs] for jobs in got] == [["1", "2"], ["3"], [], ["4", "5", "6"]]
        assert broker.calls == [([], 2, "anna:1", 0.0), (["a", "b"], 4, "anna:2", 1.0)]

    run(program())


def test_who_comes_last_in_the_row_gets_what_is_left() -> None:
    async def program() -> None:
        hub = exchanges(Scripted(stock=3))
        got = await asyncio.gather(hub.exchange([], 1), hub.exchange([], 1), hub.exchange([], 2), hub.exchange([], 2))
        assert [len(jobs) for jobs in got] == [1, 1, 1, 0]
        assert hub.empty

    run(program())


def test_a_refusal_is_told_once_of_the_very_outcome() -> None:
    async def program() -> None:
        hub = exchanges(Scripted())
        zombie, heir = done("a", "old"), done("a", "new")
        await hub.exchange([heir, zombie], 0)
        assert (hub.refusal(heir), hub.refusal(zombie), hub.refusal(zombie)) == (0, -6, 0)

    run(program())


@pytest.mark.parametrize("failing", [1, 2])
def test_an_error_reaches_those_whose_exchange_it_was_and_the_others_go_on(failing: int) -> None:
    async def program() -> None:
        broker = Scripted(failing=[failing])
        hub = exchanges(broker)
        got = await asyncio.gather(*(hub.exchange([done(id)], 1) for id in "abc"), return_exceptions=True)
        failed = [isinstance(result, ConnectionError) for result in got]
        assert failed == ([True, False, False] if failing == 1 else [False, True, True])
        assert len(await hub.exchange([], 1)) == 1, "it is as good as new"

    run(program())


def test_a_follower_that_is_cancelled_does_not_disturb_the_rest() -> None:
    async def program() -> None:
        hub = exchanges(Scripted())
        tasks = [asyncio.create_task(hub.exchange([done(id)], 1)) for id in "abc"]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got[1], asyncio.CancelledError)
        assert all(isinstance(got[i], list) and len(got[i]) == 1 for i in (0, 2))

    run(program())


def test_only_an_exchange_that_asked_for_jobs_tells_of_the_queue() -> None:
    async def program() -> None:
        hub = exchanges(Scripted(stock=0))
        await hub.exchange([done("a")], 0)
        assert not hub.empty
        await hub.exchange([], 1)
        assert hub.empty

    run(program())
