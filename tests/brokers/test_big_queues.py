"""Operations on all jobs of a state work on a page of them at a time, so that nobody waits long for the server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from brokerdriver import Driver, new_job
from hypothesis import given
from hypothesis import strategies as st
from redisservers import Clock

from queuesim.brokers.redis import broker as managing
from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.embedded import EmbeddedServer
from queuesim.brokers.redis.fake import FakeServer
from queuesim.brokers.redis.scripts import Script
from queuesim.brokers.redis.server import Argument, RealServer, connect
from queuesim.core.broker import Broker, Completed, DeadLetter, Failed, Terms
from queuesim.core.deadletters import describe
from queuesim.core.job import JobOptions, JobState, NewJob
from queuesim.core.scheduler import Every, Scheduler, upsert

WAITING, DELAYED, PRIORITIZED = JobState.WAITING, JobState.DELAYED, JobState.PRIORITIZED
COMPLETED, FAILED = JobState.COMPLETED, JobState.FAILED


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pages of three jobs."""
    monkeypatch.setattr(managing, "PAGE", 3)
    return 3


# -- results do not depend on the pages


@given(
    st.sampled_from((WAITING, DELAYED)),
    st.integers(-15, 15),
    st.integers(-15, 15),
    st.booleans(),
    st.integers(1, 12),
)
def test_a_range_of_jobs(state: JobState, start: int, end: int, ascending: bool, page: int) -> None:
    async def listed() -> tuple[list[str], list[str]]:
        broker = RedisBroker("q", FakeServer(Clock()))
        ids = await broker.add([new_job(delay=0 if state is WAITING else 125 * (i + 1)) for i in range(10)], 0.0)
        jobs = await broker.jobs(state, start, end, ascending)
        ordered = ids if ascending else ids[::-1]
        return [job.id for job in jobs], ordered[start : None if end == -1 else end + 1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(managing, "PAGE", page)
        found, expected = asyncio.run(listed())
    assert found == expected


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_drain_removes_all_but_the_jobs_of_schedulers(queue: Driver, small_pages: int, count: int) -> None:
    kept = []
    for i in range(count):
        queue.add()
        queue.add(priority=1)
        queue.add(delay=10_000)
        scheduler = Scheduler(f"s{i}", Every(60.0), "tick")
        kept.append(queue.run(upsert(queue.broker, scheduler, queue.now)))
    queue.run(queue.broker.drain(False, queue.now))
    assert queue.ids(WAITING) == kept
    assert queue.counts() == {"waiting": count, "delayed": count}
    queue.run(queue.broker.drain(True, queue.now))
    assert queue.counts() == {"waiting": count}
    assert [job.id for job in queue.take(20)] == kept


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 20])
@pytest.mark.parametrize("state", [WAITING, PRIORITIZED, DELAYED, COMPLETED])
def test_clean_removes_the_old_jobs_and_tells_of_it_once(
    queue: Driver, small_pages: int, state: JobState, limit: int
) -> None:
    old, young = [], []
    for i in range(14):
        # old and young ones by turns, and a few pages of either alone
        is_old = i % 2 == 0 or i > 9
        queue.clock.now = 100.0 + i
        options: dict[str, Any] = {"timestamp": (10 if is_old else 100) * 1000}
        options |= {"priority": 1} if state is PRIORITIZED else {"delay": 100_000} if state is DELAYED else {}
        (old if is_old else young).append(queue.add(**options))
        if state is COMPLETED:
            queue.clock.now = 10.0 if is_old else 100.0
            queue.complete(queue.take_one())
    queue.clock.now = 120.0
    before = queue.ids(state)
    queue.story()
    removed = queue.run(queue.broker.clean(50.0, limit, state, queue.now))
    assert removed == [job_id for job_id in before if job_id in old][: limit or None]
    assert queue.ids(state) == [job_id for job_id in before if job_id not in removed]
    assert [fields for kind, _, fields in queue.story() if kind == "cleaned"] == [{"count": len(removed)}]
    assert not any(queue.exists(job_id) for job_id in removed)


def test_clean_spares_active_jobs_that_are_locked(queue: Driver, small_pages: int) -> None:
    queue.add_each(8)
    forgotten, held = queue.take(4, lock=125), queue.take(4)
    queue.at(1000)
    removed = queue.run(queue.broker.clean(0.0, 0, JobState.ACTIVE, queue.now))
    assert removed == [job.id for job in forgotten]
    assert queue.ids(JobState.ACTIVE) == [job.id for job in held]
    assert [queue.complete(job) for job in held] == [0] * 4


def test_retry_and_promote_move_all(queue: Driver, small_pages: int) -> None:
    ids = queue.finish_all(7)
    assert queue.run(queue.broker.retry_all(COMPLETED, None, queue.now)) == 7
    assert queue.run(queue.broker.retry_all(COMPLETED, None, queue.now)) == 0
    delayed = queue.add_each(6, delay=5000)
    assert queue.run(queue.broker.promote_all(queue.now)) == 6
    assert queue.run(queue.broker.promote_all(queue.now)) == 0
    assert [job.id for job in queue.take(20)] == ids + delayed


def test_obliterate_leaves_nothing(queue: Driver, small_pages: int) -> None:
    queue.finish_all(4)
    queue.add_each(7)
    queue.take(5)
    queue.add_each(4, delay=5000)
    queue.add_each(4, priority=3)
    for i in range(5):
        queue.run(upsert(queue.broker, Scheduler(f"s{i}", Every(60.0), "tick"), queue.now))
    queue.run(queue.broker.pause(queue.now))
    queue.run(queue.broker.obliterate(True, queue.now))
    assert queue.counts() == {}
    assert queue.run(queue.broker.schedulers()) == []


# -- others go on between two pages


class InterruptedServer:
    """Another place, where something happens before each script of a name."""

    def __init__(self, place: FakeServer) -> None:
        self.place = place
        self.name = ""
        self.happening: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        if script.name == self.name and self.happening is not None:
            await self.happening()
        return await self.place.run(script, key, arguments)


def interrupted() -> tuple[InterruptedServer, RedisBroker]:
    place = InterruptedServer(FakeServer(Clock()))
    return place, RedisBroker("q", place)  # type: ignore[arg-type]


@pytest.mark.parametrize("ascending", [True, False])
def test_a_listing_has_every_job_that_stays_and_none_twice(monkeypatch: pytest.MonkeyPatch, ascending: bool) -> None:
    monkeypatch.setattr(managing, "PAGE", 20)

    async def listed() -> tuple[list[str], list[str], list[str]]:
        place, broker = interrupted()
        ids = await broker.add([new_job() for _ in range(200)], 0.0)

        async def work() -> None:
            await broker.exchange([], 4, Terms(), "t", 0.0)
            await broker.add([new_job(), new_job()], 0.0)

        place.name, place.happening = "list", work
        found = [job.id for job in await broker.jobs(WAITING, 0, -1, ascending)]
        place.happening = None
        return found, list(ids), [job.id for job in await broker.jobs(WAITING, 0, -1, True)]

    found, ids, left = asyncio.run(listed())
    assert len(set(found)) == len(found)
    # most were taken after they were listed
    assert len(found) > 190 if ascending else len(found) > 150
    assert set(left) & set(ids) <= set(found)


def test_a_clean_reaches_every_old_job_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managing, "PAGE", 20)

    async def cleaned() -> tuple[list[str], list[str]]:
        place, broker = interrupted()
        times = [10.0 if i % 3 == 0 else 100.0 for i in range(200)]
        ids = await broker.add([NewJob("a", "{}", JobOptions(timestamp=time)) for time in times], 100.0)

        async def work() -> None:
            await broker.exchange([], 4, Terms(), "t", 100.0)

        place.name, place.happening = "clean", work
        await broker.clean(50.0, 0, WAITING, 100.0)
        place.happening = None
        return list(ids[::3]), [job.id for job in await broker.jobs(WAITING, 0, -1, True)]

    old, left = asyncio.run(cleaned())
    assert left
    assert not set(old) & set(left)


def test_a_retry_of_all_ends_though_jobs_fail_again() -> None:
    async def retried() -> int:
        place, broker = interrupted()
        await broker.add([new_job() for _ in range(6)], 0.0)
        at = 1.0

        async def fail_all() -> None:
            nonlocal at
            at += 1.0
            jobs = (await broker.exchange([], 6, Terms(), f"t{at}", at)).jobs
            await broker.exchange([Failed(job.id, job.token, "boom") for job in jobs], 0, Terms(), "t", at)

        await fail_all()
        place.name, place.happening = "retry_all", fail_all
        return await broker.retry_all(FAILED, None, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(managing, "PAGE", 2)
        assert asyncio.run(retried()) == 6


# -- what one call costs the server

JOBS = 20_000
MOST_WORK = 60_000
"""Keys, fields and elements that one call of a script may touch: about 60 for each job of a page."""

MEASURE = """
local redis = (function(real, most)
  local work = 0
  -- how far a list is searched
  local function searched(list, count, member)
    local rank = tonumber(count)
    local found = real.call("LPOS", list, member, "RANK", rank == 0 and 1 or rank)
    local length = real.call("LLEN", list)
    if not found then return length end
    return rank < 0 and length - found or found + 1
  end
  local function cost(command, key, a, b, c)
    if command == "LREM" then return searched(key, a, b) end
    if command == "LPOS" and b ~= "MAXLEN" then return searched(key, b == "RANK" and c or 1, a) end
    return 0
  end
  local function measured(call)
    return function(...)
      work = work + select("#", ...) + cost(...)
      local answer = call(...)
      if type(answer) == "table" then work = work + #answer end
      if work > most then error("this call touches more than " .. most .. " things") end
      return answer
    end
  end
  return {
    call = measured(real.call), pcall = measured(real.pcall),
    error_reply = real.error_reply, status_reply = real.status_reply, sha1hex = real.sha1hex, log = real.log,
  }
end)(redis, %d)
"""
"""What goes before a script: it raises when the script has touched too much, however fast the machine is."""


class MeasuringServer:
    """Another place, whose scripts may not touch too much."""

    def __init__(self, place: RealServer) -> None:
        self.place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    async def run(self, script: Script, key: str, arguments: Sequence[Argument]) -> Any:
        text = MEASURE % MOST_WORK + script.text
        measured = Script(script.name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
        return await self.place.run(measured, key, arguments)


@asynccontextmanager
async def big_queue(server: EmbeddedServer, state: JobState) -> AsyncIterator[RedisBroker]:
    """A queue of many jobs in one state, on a server where no call of a script may touch too many things."""
    place = await connect(server.url)
    options = {PRIORITIZED: JobOptions(priority=1), DELAYED: JobOptions(delay=100.0)}.get(state, JobOptions())
    try:
        await RedisBroker("q", place).add([NewJob("a", "{}", options)] * JOBS, 100.0)
        if state in (COMPLETED, FAILED):
            await finish(RedisBroker("q", place), state)
        yield RedisBroker("q", MeasuringServer(place))  # type: ignore[arg-type]
    finally:
        await place.close()


async def finish(broker: Broker, state: JobState) -> None:
    """Complete all jobs, or let them fail with a dead letter each."""
    now = 80.0
    while jobs := (await broker.exchange([], 500, Terms(), "t", now)).jobs:
        now += 0.25
        if state is COMPLETED:
            outcomes: Sequence[Any] = [Completed(job.id, job.token) for job in jobs]
        else:
            outcomes = [
                Failed(job.id, job.token, "boom", dead_letter=DeadLetter("dead", describe("q", job, "boom", [])))
                for job in jobs
            ]
        await broker.exchange(outcomes, 0, Terms(), "t", now)


@pytest.mark.server
@pytest.mark.parametrize("state", [WAITING, PRIORITIZED, DELAYED, COMPLETED, FAILED])
def test_no_call_touches_more_than_a_page_of_jobs(default_server: EmbeddedServer, state: JobState) -> None:
    async def program() -> None:
        async with big_queue(default_server, state) as broker:
            for ascending in (True, False):
                assert len(await broker.jobs(state, 0, -1, ascending)) == JOBS
            # nothing is old: all are looked at
            assert await broker.clean(50.0, 0, state, 100.0) == []
            assert len(await broker.clean(0.0, 3_000, state, 100.0)) == 3_000
            if state in (COMPLETED, FAILED):
                assert await broker.retry_all(state, None, 100.0) == JOBS - 3_000
                # the letters of those that were cleaned are left
                letters = (await broker.sibling("dead").counts())[WAITING]
                assert letters == (3_000 if state is FAILED else 0)
            elif state is DELAYED:
                assert await broker.promote_all(100.0) == JOBS - 3_000
            assert sum((await broker.counts()).values()) == JOBS - 3_000
            await broker.drain(True, 100.0)
            assert sum((await broker.counts()).values()) == 0

    asyncio.run(program())


@pytest.mark.server
@pytest.mark.parametrize("state", [WAITING, PRIORITIZED, DELAYED, COMPLETED])
def test_obliterate_removes_a_page_at_a_time(default_server: EmbeddedServer, state: JobState) -> None:
    async def program() -> None:
        async with big_queue(default_server, state) as broker:
            await broker.pause(100.0)
            await broker.obliterate(False, 100.0)
            assert sum((await broker.counts()).values()) == 0
            assert await broker._server.command("DBSIZE") == 0

    asyncio.run(program())


@pytest.mark.server
@pytest.mark.parametrize("ascending", [True, False])
def test_removing_a_job_at_an_end_does_not_search_the_queue(
    default_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, ascending: bool
) -> None:
    """The oldest first, as dead letters are redriven, or the newest, as jobs are taken back."""

    async def program() -> None:
        async with big_queue(default_server, WAITING) as broker:
            (job,) = await broker.jobs(WAITING, 0, 0, ascending)
            monkeypatch.setitem(globals(), "MOST_WORK", JOBS // 10)
            await broker.remove(job.id, 100.0)
            assert await broker.get(job.id) is None

    asyncio.run(program())
