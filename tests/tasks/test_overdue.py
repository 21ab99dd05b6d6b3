from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from taskbench import TaskBench, bench

from queuesim.core.clock import now
from queuesim.core.errors import BrokerUnavailableError, DatabaseError
from queuesim.core.job import RateLimit
from queuesim.simulation.process import Process
from queuesim.simulation.runner import run
from queuesim.tasks.overdue import Delivered, reports
from queuesim.tasks.store import TaskStore
from queuesim.tasks.tables import scans, tasks

WAYS = ["after-commit", "outbox"]


@pytest.mark.parametrize("delivery", WAYS)
@pytest.mark.parametrize(("per", "jobs"), [("task", 250), ("page", 3)])
def test_every_overdue_task_is_told_of_once(delivery: str, per: Any, jobs: int) -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(250)
        desk.add_tasks(50, due=1e6)
        async with desk.working():
            (report,) = await desk.scan(per=per).run()
            assert (report.found, report.pages, report.ended_at) == (250, 3, 0.0)
            await desk.drained()
        (report,) = desk.store.run_now(reports)
        assert (report.enqueued, report.duplicates) == (jobs, 0)
        assert sorted(desk.told()) == list(range(1, 251))
        assert {len(times) for times in desk.told().values()} == {1}

    with bench(delivery=delivery) as desk:
        run(scene(desk))


@pytest.mark.parametrize("delivery", WAYS)
def test_scans_that_overlap_make_no_second_notification(delivery: str) -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(300)
        both = [desk.scan(owner=f"scanner-{n}").run() for n in range(2)]
        await asyncio.gather(*both)
        await desk.relay.drain()
        first, second = sorted(desk.store.run_now(reports), key=lambda report: report.id)
        assert first.found == second.found == 300
        assert first.enqueued + second.enqueued == 300
        assert first.duplicates + second.duplicates == 300
        async with desk.working():
            await desk.drained()
        assert {len(times) for times in desk.told().values()} == {1}

    with bench(latency=0.01, delivery=delivery) as desk:
        run(scene(desk))


def test_a_tick_is_scanned_for_once(store: TaskStore) -> None:
    async def scene() -> None:
        desk = TaskBench(store)
        desk.add_tasks(5)
        done = await asyncio.gather(*(desk.scan(owner=f"s{n}").run("cron", tick=3600.0) for n in range(4)))
        assert sorted(len(each) for each in done) == [0, 0, 0, 1]
        assert len(await desk.scan().run("cron", tick=7200.0)) == 1

    asyncio.run(scene())


def test_a_task_deleted_or_closed_between_scan_and_handler_is_passed_over() -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(10)
        await desk.scan(per="page").run()
        desk.store.run_now(lambda c: c.execute(tasks.delete().where(tasks.c.id <= 3)))
        desk.store.run_now(lambda c: c.execute(tasks.update().where(tasks.c.id == 4).values(notify_at=None)))
        async with desk.working():
            await desk.drained()
        assert sorted(desk.told()) == [5, 6, 7, 8, 9, 10]

    with bench() as desk:
        run(scene(desk))


def test_a_backlog_that_outlives_its_period_is_not_told_twice() -> None:
    """300 jobs at 100 a minute take three minutes; scans come every minute."""

    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(300)
        async with desk.working():
            for _ in range(4):
                await desk.scan().run("cron")
                await asyncio.sleep(60.0)
            await desk.drained()
        assert sum(report.enqueued for report in desk.store.run_now(reports)) == 300
        assert {len(times) for times in desk.told().values()} == {1}
        assert len(desk.told()) == 300

    with bench(limiter=RateLimit(100, 60.0)) as desk:
        run(scene(desk))


def test_the_next_day_they_are_told_again() -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(20)
        async with desk.working():
            for _ in range(26):
                await desk.scan().run("cron")
                await asyncio.sleep(3600.0)
            await desk.drained()
        for times in desk.told().values():
            assert len(times) == 2
            assert times[1] - times[0] >= 24 * 3600.0

    with bench() as desk:
        run(scene(desk))


async def crash_and_recover(desk: TaskBench, when: list[float], per: Any = "task") -> None:
    """Scan in a process that is killed so long after it began, then in another one, and so on; the last lives."""
    loop = asyncio.get_running_loop()
    for n, moment in enumerate([*when, None]):
        process = Process(f"scanner-{n}")
        scan = desk.scan(lease=5.0, owner=process.name, per=per, page_size=20)
        task = loop.create_task(scan.run("cron"), context=process.context)
        if moment is None:
            await task
        else:
            await asyncio.sleep(moment)
            process.kill()
            await asyncio.sleep(6.0)  # the lease is over


@pytest.mark.parametrize("delivery", WAYS)
@settings(max_examples=6)
@given(moments=st.lists(st.floats(0.0, 0.3), min_size=1, max_size=3), per=st.sampled_from(["task", "page"]))
def test_crashes_in_the_middle_of_a_scan_lose_nothing(delivery: str, moments: list[float], per: Any) -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(120)
        async with desk.working():
            await crash_and_recover(desk, moments, per)
            await desk.drained()
        assert sorted(desk.told()) == list(range(1, 121))
        assert {len(times) for times in desk.told().values()} == {1}
        unfinished = desk.store.run_now(lambda c: c.execute(select(scans).where(scans.c.ended_at.is_(None))).all())
        assert not unfinished

    with bench(latency=0.02, delivery=delivery, round_trip=0.01) as desk:
        run(scene(desk))


def test_a_scan_that_is_taken_over_goes_on_where_it_was() -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(200)
        await crash_and_recover(desk, [0.2])
        first, second = sorted(desk.store.run_now(reports), key=lambda report: report.id)
        assert (first.found, first.pages) == (200, 10)
        assert first.enqueued == 200
        assert second.enqueued == 0

    with bench(latency=0.02) as desk:
        run(scene(desk))


@pytest.mark.parametrize("per", ["task", "page"])
def test_a_page_that_was_told_of_before_its_scan_could_save_it_costs_no_other_page_its_notification(per: Any) -> None:
    """The second turn fails after its page is in the queue. Who takes the scan over finds other tasks at that place."""

    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(50)
        async with desk.working():
            work, turns = desk.store.run, iter(range(100))

            async def failing(operation: Any) -> Any:
                if next(turns) == 3:
                    await asyncio.sleep(0.5)
                    raise DatabaseError("the transaction was rolled back")
                return await work(operation)

            desk.store.run = failing  # type: ignore[method-assign]
            with pytest.raises(DatabaseError):
                await desk.scan(per=per, page_size=10, lease=5.0).run()
            desk.store.run = work  # type: ignore[method-assign]
            await asyncio.sleep(10.0)
            await desk.drained()
            assert 0 < len(desk.told()) < 50
            await desk.scan(per=per, page_size=10, lease=5.0).resume()
            await desk.drained()
        assert sorted(desk.told()) == list(range(1, 51))
        assert {len(times) for times in desk.told().values()} == {1}

    with bench() as desk:
        run(scene(desk))


def test_the_same_seed_gives_the_same_run() -> None:
    def once() -> list[Any]:
        draw = random.Random(3).random

        async def scene(desk: TaskBench) -> list[Any]:
            desk.add_tasks(100, spread=1.0)
            async with desk.working(2):
                await crash_and_recover(desk, [draw() * 0.1 for _ in range(3)])
                await desk.drained()
            return [desk.told(), desk.store.run_now(reports)]

        with bench(latency=0.02) as desk:
            return run(scene(desk))

    assert once() == once()


@pytest.mark.parametrize("page_size", [0, -1])
def test_a_page_of_nothing_is_refused(page_size: int) -> None:
    with bench() as desk, pytest.raises(ValueError, match="1 task or more"):
        desk.scan(page_size=page_size)


class SlowDelivery:
    """A delivery that takes a second a page, counts its pages, and fails from one of them on if asked."""

    atomic = False

    def __init__(self, desk: TaskBench, fails_at: int = 1_000) -> None:
        self.delivery = desk.delivery
        self.pages = 0
        self.fails_at = fails_at

    def stage(self, *arguments: Any) -> None:
        self.delivery.stage(*arguments)

    async def deliver(self, jobs: Any) -> list[str] | None:
        self.pages += 1
        await asyncio.sleep(1.0)
        if self.pages >= self.fails_at:
            raise BrokerUnavailableError("away")
        return await self.delivery.deliver(jobs)


def test_who_is_slower_than_its_lease_gives_the_scan_up_to_whoever_took_it_over() -> None:
    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(50)
        slow, quick = desk.scan(page_size=10, lease=0.1, owner="slow"), desk.scan(page_size=10, owner="quick")
        slow.delivery, quick.delivery = (first := SlowDelivery(desk)), (second := SlowDelivery(desk))
        walking = asyncio.create_task(slow.run())
        await asyncio.sleep(0.5)
        await asyncio.gather(walking, quick.resume())
        assert first.pages == 1, "it was told after its first page that the scan is another's"
        assert second.pages >= 4
        async with desk.working():
            await desk.drained()
        assert sorted(desk.told()) == list(range(1, 51))

    with bench() as desk:
        run(scene(desk))


@pytest.mark.parametrize("name", ["quick", "slow"])
def test_who_fails_after_its_lease_does_not_put_down_the_scan_of_another_one(name: str) -> None:
    """Whatever its name: two servers may have one."""

    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(50)
        slow, quick = desk.scan(page_size=10, lease=0.1, owner="slow"), desk.scan(page_size=10, owner=name)
        slow.delivery, quick.delivery = SlowDelivery(desk, fails_at=1), SlowDelivery(desk)
        walking = asyncio.create_task(slow.run())
        await asyncio.sleep(0.5)
        resuming = asyncio.create_task(quick.resume())
        with pytest.raises(BrokerUnavailableError):
            await walking
        assert await desk.scan(page_size=10, owner="third").resume() == []
        await resuming

    with bench() as desk:
        run(scene(desk))


class LosingDelivery:
    """Delivers, and something happens to the scan before the first delivery is over."""

    atomic = False

    def __init__(self, desk: TaskBench, happening: Callable[[], Awaitable[object]]) -> None:
        self.delivery = desk.delivery
        self.happening: Callable[[], Awaitable[object]] | None = happening

    def stage(self, *arguments: Any) -> None:
        self.delivery.stage(*arguments)

    async def deliver(self, jobs: Any) -> list[str] | None:
        ids = await self.delivery.deliver(jobs)
        if self.happening is not None:
            happening, self.happening = self.happening, None
            await happening()
        return ids


@pytest.mark.parametrize("name", ["another", "slow"])
@pytest.mark.parametrize("pages", [0, 2, 3])
def test_who_lost_its_lease_does_not_move_the_cursor(pages: int, name: str) -> None:
    """Neither forward, where who took over has got no further yet, nor back, where it is ahead. It may have the same
    name: two servers may."""

    async def scene(desk: TaskBench) -> None:
        desk.add_tasks(50)
        quick = desk.scan(page_size=10, owner=name)

        async def lose() -> None:
            await asyncio.sleep(1.0)
            time = now()
            scan_id = await desk.store.run(partial(quick._take_over, time))
            assert scan_id is not None
            delivered = None
            for _ in range(pages):
                page = await desk.store.run(partial(quick._turn, time, scan_id, time + quick.lease, delivered))
                assert page is not None
                delivered = Delivered(page, [job.job_id or "" for job in page.jobs])
            if delivered is not None:
                await desk.store.run(partial(quick._turn, time, scan_id, time + quick.lease, delivered))
            taken_over.append(await row())

        async def row() -> tuple[Any, ...]:
            columns = (scans.c.cursor_at, scans.c.cursor_id, scans.c.pages, scans.c.found, scans.c.leased_until)
            return await desk.store.run(lambda connection: tuple(connection.execute(select(*columns)).one()))

        taken_over: list[tuple[Any, ...]] = []
        slow = desk.scan(page_size=10, lease=0.1, owner="slow")
        slow.delivery = LosingDelivery(desk, lose)
        (report,) = await slow.run()
        assert report.ended_at is None
        assert await row() == taken_over[0]

    with bench() as desk:
        run(scene(desk))
