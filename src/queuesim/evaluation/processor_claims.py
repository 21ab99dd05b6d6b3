"""Claims about the processor: 10 points."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from queuesim.admin.metering import Meter
from queuesim.clock import now
from queuesim.evaluation.ground import Desk, expect
from queuesim.job import Job, JobState
from queuesim.tasks import Status
from queuesim.tasks.queries import told


async def concurrency(desk: Desk) -> str:
    """Up to five jobs run at the same time, and no more."""
    running = most = 0

    async def handler(job: Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(desk.unit)
        running -= 1

    desk.processor.job("probe")(handler)
    await desk.queue.add_bulk([("probe", None)] * 30)
    async with desk.working():
        await desk.drained()
    expect(most == 5, f"{most} jobs at once")
    return f"{most} of 30 jobs at once"


async def limiter(desk: Desk) -> str:
    """At most 100 jobs start in a window of 60 s."""
    starts: list[float] = []

    async def handler(job: Job) -> None:
        starts.append(job.processed_on or 0.0)

    desk.processor.job("probe")(handler)
    await desk.queue.add_bulk([("probe", None)] * 250)
    async with desk.working():
        await desk.drained()
    expect(len(starts) == 250, f"{len(starts)} of 250 jobs started")
    first = sum(start < min(starts) + 59 * desk.unit for start in starts)
    took = (max(starts) - min(starts)) / desk.unit
    expect(first <= 100 and took >= 119, f"{first} starts in the first window, 250 in {took:.0f} s")
    return f"{first} starts in the first window, 250 starts in {took:.0f} s"


async def handlers(desk: Desk) -> str:
    """The three job types do their work on a real task store, once, however often they run."""
    async with desk.working():
        task = await desk.service.create("write", "ann", now())
        await desk.drained()
        # one after the other: a task that is completed is overdue no longer
        for name, data in (
            ("overdue-tasks-notification", {"task_ids": [task.id]}),
            ("task-created", {"task_id": task.id}),
            ("task-status-update", {"task_id": task.id, "status": "completed", "key": "k"}),
        ):
            await desk.queue.add_bulk([(name, data)] * 2)
            await desk.drained()
    kinds = sorted(kind for _, kind, _ in desk.store.run_now(told))
    status = (await desk.service.get(task.id)).status
    expect(kinds == ["created", "overdue"] and status is Status.COMPLETED, f"told {kinds}, status {status}")
    return "a status changed, a new and an overdue task told of, each once in two runs"


async def validation(desk: Desk) -> str:
    """Data that do not fit never reach a handler, and are not retried."""
    reached = 0
    for job_type in list(desk.processor.types.values()):

        async def handler(job: Job) -> None:
            nonlocal reached
            reached += 1

        desk.processor.add(replace(job_type, handler=handler))
    bad = [
        ("task-created", {"task_id": -1}),
        ("task-status-update", {"task_id": 1, "status": "lost", "key": "k"}),
        ("overdue-tasks-notification", {"task_ids": []}),
    ]
    await desk.queue.add_bulk(bad)
    async with desk.working():
        await desk.drained()
    failed = await desk.queue.get_jobs(JobState.FAILED)
    attempts = [job.attempts_made for job in failed]
    expect(reached == 0 and attempts == [1, 1, 1], f"{reached} reached a handler, attempts {attempts}")
    return "3 of 3 refused before their handler, after one attempt each"


async def retention(desk: Desk) -> str:
    """The newest 100 completed and 50 failed jobs are kept; the ids of others are free again."""

    async def handler(job: Job) -> None:
        if job.data["fails"]:
            raise ValueError("bad")

    desk.processor.job("probe")(handler)
    await desk.queue.add("probe", {"fails": False}, job_id="mine")
    async with desk.working():
        await desk.drained()
        await desk.queue.add_bulk([("probe", {"fails": False})] * 129 + [("probe", {"fails": True})] * 60)
        await desk.drained()
    counts = await desk.queue.counts()
    kept = (counts[JobState.COMPLETED], counts[JobState.FAILED])
    free = await desk.queue.get_job("mine") is None
    expect(kept == (100, 50) and free, f"kept {kept}, the first id is {'free' if free else 'taken'}")
    return "100 of 130 and 50 of 60 are kept; the first one's id is free, so that ids alone deduplicate no longer"


async def metrics(desk: Desk) -> str:
    """Processed, failed, average time, success rate and health are counted, and can be reset."""

    async def handler(job: Job) -> None:
        await asyncio.sleep(desk.unit)
        if job.data["fails"]:
            raise ValueError("bad")

    desk.processor.job("probe")(handler)
    await desk.queue.add_bulk([("probe", {"fails": n == 0}) for n in range(4)])
    meter = Meter(desk.queue)
    async with desk.working():
        await desk.drained()
    seen = await meter.read()
    expect((seen.processed, seen.failed, seen.success_rate) == (3, 1, 0.75), str(seen))
    average = seen.average_processing_time or 0.0
    expect(0.5 < average / desk.unit < 20, f"an average of {average} s")
    meter.reset()
    again = await meter.read()
    expect((again.processed, again.failed) == (0, 0), str(again))
    return f"3 processed, 1 failed, success rate 75 %, {seen.health}; 0 and 0 after the reset"


async def job_ids(desk: Desk) -> str:
    """A job of an id that is there is not added again."""
    ids = [f"job-{n}" if not desk.ground.has("job ids") else "job-0" for n in range(5)]
    for job_id in ids:
        await desk.queue.add("task-created", {"task_id": 1}, job_id=job_id)
    waiting = (await desk.queue.counts())[JobState.WAITING]
    expect(waiting == 1, f"{waiting} jobs")
    return "5 adds of one id made 1 job"


async def after_commit(desk: Desk) -> str:
    """Jobs leave only after their transaction commits, and whoever dies in between loses none."""
    broker: Any = desk.queue.broker
    broker.add, add = _refuse, broker.add
    try:
        await desk.service.create("write", "ann")
    except ConnectionError:
        pass  # the process died between commit and queue
    finally:
        broker.add = add
    async with desk.working():
        await desk.drained()
    count = len(desk.store.run_now(told))
    expect(count == 1, "the task is there, and its job is not")
    return "a crash between commit and queue lost none of 1 jobs"


async def _refuse(*arguments: object) -> list[str]:
    raise ConnectionError("the process died")


async def bulk(desk: Desk) -> str:
    """Bulk status updates are bulk jobs."""
    tasks = [await desk.service.create(f"t{n}", "ann") for n in range(60)]
    count = await desk.service.change_status_bulk([task.id for task in tasks], Status.COMPLETED)
    async with desk.working():
        await desk.drained()
    done = sum([(await desk.service.get(task.id)).status is Status.COMPLETED for task in tasks])
    expect(count == done == 60, f"{done} of {count}")
    return "60 tasks changed by 60 jobs that left together"
