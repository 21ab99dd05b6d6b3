from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from taskbench import TaskBench, bench

from queuesim import DeadLetters
from queuesim.core.clock import set_clock
from queuesim.core.errors import ValidationError
from queuesim.core.job import JobState
from queuesim.core.worker import Worker
from queuesim.simulation.runner import run
from queuesim.tasks.model import ConflictError, Status, TaskMissingError
from queuesim.tasks.store import TaskStore

Scene = Callable[[TaskBench], Awaitable[Any]]


def play(scene: Scene, **settings: Any) -> Any:
    """Run a scene beside a worker, and wait for what it left in the queue."""

    async def whole(desk: TaskBench) -> Any:
        async with desk.working():
            result = await scene(desk)
            await desk.drained()
            return result

    with bench(**settings) as desk:
        return run(whole(desk))


@pytest.mark.parametrize("delivery", ["after-commit", "outbox"])
def test_a_new_task_is_told_of_once(delivery: str) -> None:
    async def scene(desk: TaskBench) -> None:
        task = await desk.service.create("write", "ann", 5.0)
        await desk.drained()
        assert list(desk.told("created")) == [task.id]
        await desk.queue.add("task-created", {"task_id": task.id})
        await desk.drained()
        assert len(desk.told("created")[task.id]) == 1

    play(scene, delivery=delivery)


@pytest.mark.parametrize("delivery", ["after-commit", "outbox"])
def test_bulk_status_updates_are_bulk_jobs(delivery: str) -> None:
    async def scene(desk: TaskBench) -> None:
        tasks = [await desk.service.create(f"t{n}", "ann") for n in range(120)]
        await desk.drained()
        before = await desk.queue.add("task-created", {"task_id": tasks[0].id})
        assert await desk.service.change_status_bulk([task.id for task in tasks], Status.COMPLETED) == 120
        await desk.drained()
        assert {(await desk.service.get(task.id)).status for task in tasks} == {Status.COMPLETED}
        assert int(before) > 0

    play(scene, delivery=delivery)


def test_a_bulk_update_with_a_task_that_is_not_there_changes_nothing() -> None:
    async def scene(desk: TaskBench) -> None:
        task = await desk.service.create("t", "ann")
        for ids in ([task.id, 99], [], list(range(1, 10_002))):
            with pytest.raises(ValidationError):
                await desk.service.change_status_bulk(ids, Status.COMPLETED)
        await desk.drained()
        assert (await desk.service.get(task.id)).status is Status.PENDING

    play(scene)


def test_a_status_update_that_runs_again_does_not_undo_what_came_after_it() -> None:
    async def scene(desk: TaskBench) -> None:
        task = await desk.service.create("t", "ann")
        update = {"task_id": task.id, "status": "in_progress", "key": "first"}
        for data in (update, {**update, "status": "completed", "key": "second"}, update):
            await desk.queue.add("task-status-update", data)
            await desk.drained()
        assert (await desk.service.get(task.id)).status is Status.COMPLETED

    play(scene)


def test_an_update_of_another_version_is_retried_and_then_a_dead_letter() -> None:
    async def scene(desk: TaskBench) -> list[Any]:
        task = await desk.service.create("t", "ann")
        await desk.service.change(task, title="changed")
        await desk.service.change_status(task.id, Status.COMPLETED, version=1)
        await desk.drained()
        assert (await desk.service.get(task.id)).status is Status.PENDING
        return list(await DeadLetters(desk.broker, "task-processing-dead").list())

    (letter,) = play(scene)
    assert [row["type"] for row in letter.history] == ["ConflictError"] * 3
    assert [row["category"] for row in letter.history] == ["Database"] * 3


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("task-created", {"task_id": 0}),
        ("task-created", {"task_id": "1"}),
        ("task-created", {"task_id": 1, "extra": True}),
        ("task-created", {}),
        ("task-status-update", {"task_id": 1, "status": "finished", "key": "k"}),
        ("task-status-update", {"task_id": 1, "status": "completed", "key": ""}),
        ("task-status-update", {"task_id": 2**70, "status": "completed", "key": "k"}),
        ("overdue-tasks-notification", {"task_ids": []}),
        ("overdue-tasks-notification", {"task_ids": [1, None]}),
        ("overdue-tasks-notification", [1]),
        ("overdue-task-notification", {"task_ids": [1]}),
    ],
)
def test_data_that_do_not_fit_never_reach_the_database(name: str, data: Any) -> None:
    async def scene(desk: TaskBench) -> None:
        await desk.service.create("t", "ann")
        await desk.drained()
        before = desk.store.cost.transactions if desk.store.cost else 0
        await desk.queue.add(name, data)
        await asyncio.sleep(0.05)
        (job,) = await desk.queue.get_jobs(JobState.FAILED)
        assert (job.attempts_made, job.attempts_started) == (1, 1)
        assert desk.store.cost is not None
        # the relay's looks are a second apart
        assert desk.store.cost.transactions == before

    play(scene, latency=0.01)


def test_a_task_that_is_gone_fails_its_job_at_once() -> None:
    async def scene(desk: TaskBench) -> None:
        await desk.queue.add("task-created", {"task_id": 7})
        await desk.drained()
        (job,) = await desk.queue.get_jobs(JobState.FAILED)
        assert (job.attempts_made, job.failed_reason) == (1, "there is no task 7")

    play(scene)


def test_titles_and_due_dates_that_mean_nothing_are_refused() -> None:
    async def scene(desk: TaskBench) -> None:
        for title, due in (("", None), ("x" * 201, None), ("a\0b", None), ("t", float("nan"))):
            with pytest.raises(ValidationError):
                await desk.service.create(title, "ann", due)
        with pytest.raises(ValidationError, match="no time zone"):
            await desk.service.create("t", "ann", datetime(2025, 1, 1))
        with pytest.raises(TaskMissingError):
            await desk.service.get(1)

    play(scene)


def test_who_changes_what_has_changed_is_told() -> None:
    async def scene(desk: TaskBench) -> None:
        task = await desk.service.create("t", "ann")
        await desk.service.change(task, title="one", due=50.0)
        with pytest.raises(ConflictError):
            await desk.service.change(task, title="two")
        await desk.service.delete(task.id)
        with pytest.raises(TaskMissingError):
            await desk.service.delete(task.id)

    play(scene)


def test_on_real_databases_in_real_time(store: TaskStore) -> None:
    """The whole way, on threads: tasks are made, changed in bulk, found overdue, and told of once."""

    async def scene() -> None:
        set_clock(asyncio.get_running_loop().time)
        desk = TaskBench(store, delivery="outbox")
        start = asyncio.get_running_loop().time()
        worker = Worker(desk.processor, desk.broker)
        working = asyncio.create_task(worker.run())
        tasks = [await desk.service.create(f"t{n}", "ann", start) for n in range(30)]
        await desk.service.change_status_bulk([task.id for task in tasks[:10]], Status.COMPLETED)
        await desk.relay.drain()
        await desk.drained(0.01)
        first = await desk.scan(page_size=7).run()
        second = await desk.scan(page_size=7).run()
        await desk.drained(0.01)
        await worker.close()
        await working
        assert [(r.found, r.pages) for r in first] == [(20, 3)]
        assert len(second) == 1
        assert sorted(desk.told()) == [task.id for task in tasks[10:]]
        assert {len(times) for times in desk.told().values()} == {1}

    asyncio.run(scene())
