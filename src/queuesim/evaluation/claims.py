"""Claims about the processor: 10 points."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

from queuesim.admin.audit import AuditLog
from queuesim.admin.metrics import Meter
from queuesim.core.clock import now
from queuesim.core.errors import DatabaseError, UnrecoverableError
from queuesim.core.job import Job, JobState
from queuesim.core.scheduler import Cron
from queuesim.core.worker import WorkerOptions
from queuesim.evaluation.ground import STALLED, Desk, expect
from queuesim.tasks.model import Status
from queuesim.tasks.overdue import reports
from queuesim.tasks.queries import told
from queuesim.tasks.store import fill


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


# -- Claims about scheduled tasks: 5 points


async def cron(desk: Desk) -> str:
    """A cron line fires once at each tick, however many workers there are."""
    fired: list[float] = []

    async def handler(job: Job) -> None:
        fired.append(int(job.id.rpartition(":")[2]) / 1000)

    desk.processor.job("probe")(handler)
    live = desk.ground.live
    if desk.ground.has("cron"):
        await desk.queue.upsert_scheduler("tick", Cron("* * * * * *" if live else "0 * * * *"), "probe")
    period, ticks = (1.0, 3) if live else (3600.0, 3)
    async with desk.working(3):
        await desk.until(lambda: len(fired) >= ticks, period * (ticks + 0.5))
    expect(len(fired) >= ticks, f"{len(fired)} firings in {ticks} ticks")
    expect(len(set(fired)) == len(fired) and all(tick % period == 0 for tick in fired), f"fired for {fired}")
    return f"{len(fired)} firings, one a tick, with 3 workers"


async def pages(desk: Desk) -> str:
    """The scan goes in pages of 100, and misses none."""
    desk.store.run_now(lambda connection: fill(connection, [now_before] * 350))
    (report,) = await desk.scan().run()
    async with desk.working():
        await desk.drained()
    count = Counter(task for task, _, _ in desk.store.run_now(told))
    expect(report.ended_at is not None, "the scan's end is not recorded")
    expect(report.pages == 4 and len(count) == 350, f"{report.pages} pages, {len(count)} of 350 told")
    expect(set(count.values()) == {1}, "somebody was told twice")
    return f"350 tasks in {report.pages} pages, all told of; its begin and end are recorded"


now_before = 0.0
"""Due at second 0 of the queue's clock: overdue on every backend."""


async def overlaps(desk: Desk) -> str:
    """Scans that overlap, by schedule or by hand, notify nobody twice."""
    desk.store.run_now(lambda connection: fill(connection, [now_before] * 150))
    if not desk.ground.has("deduplication"):
        _without_deduplication(desk)
    await asyncio.gather(*(desk.scan(owner=f"s{n}").run("manual") for n in range(3)))
    await desk.relay.drain()
    found = desk.store.run_now(reports)
    enqueued, duplicates = sum(r.enqueued for r in found), sum(r.duplicates for r in found)
    async with desk.working():
        await desk.drained()
    times = Counter(task for task, _, _ in desk.store.run_now(told))
    expect(enqueued == 150 and duplicates == 300, f"{enqueued} jobs and {duplicates} duplicates of 150 tasks")
    expect(len(times) == 150 and set(times.values()) == {1}, "somebody was told twice")
    return f"3 scans of 150 tasks: {enqueued} jobs, {duplicates} duplicates dropped, each told once"


def _without_deduplication(desk: Desk) -> None:
    from dataclasses import replace

    plain = desk.queue.broker.add

    async def add(jobs, time):  # type: ignore[no-untyped-def]
        return await plain([replace(j, options=replace(j.options, deduplication=None)) for j in jobs], time)

    desk.queue.broker.add = add  # type: ignore[method-assign]


async def restart(desk: Desk) -> str:
    """A scan that was cut short is taken over where it was."""
    desk.store.run_now(lambda connection: fill(connection, [now_before] * 400))
    scan = desk.scan(lease=desk.unit)
    deliver, calls = desk.delivery.deliver, 0

    async def die(jobs):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConnectionError("the process died")
        return await deliver(jobs)

    desk.delivery.deliver = die
    try:
        await scan.run("cron", tick=1.0)
    except ConnectionError:
        desk.delivery.deliver = deliver
    await asyncio.sleep(2 * desk.unit)
    done = await desk.scan(lease=desk.unit, owner="another").run("cron", tick=1.0)
    async with desk.working():
        await desk.drained()
    times = Counter(task for task, _, _ in desk.store.run_now(told))
    expect(len(done) == 1 and len(times) == 400, f"{len(times)} of 400 told")
    expect(set(times.values()) == {1}, "somebody was told twice")
    return "died on page 3 of 4; the next one went on, and 400 of 400 were told once"


async def administration(desk: Desk) -> str:
    """An administrator can trigger the check by HTTP, nobody else can, and the audit log has both."""
    from queuesim.evaluation.ground import post, token

    roles = ["admin"], (["user"] if desk.ground.has("roles") else ["admin"])
    path = "/tasks/admin/trigger-overdue-check"
    allowed = await post(desk, path, token(roles[0]))
    refused = await post(desk, path, token(roles[1]))
    anonymous = await post(desk, path, None)
    rows = await AuditLog(desk.store).newest(10)
    outcomes = [row.outcome for row in reversed(rows)]
    statuses = (allowed, refused, anonymous)
    expect(statuses == (200, 403, 401), f"an administrator {allowed}, a user {refused}, nobody {anonymous}")
    expect(outcomes == ["done", "refused", "refused"], f"the audit log has {outcomes}")
    return "an administrator 200, a user 403, nobody 401; all three in the audit log"


# -- Claims about error handling: 5 points


async def categories(desk: Desk) -> str:
    """Every error has a type, a category and whether it is retryable."""
    errors = (DatabaseError("d"), ValueError("v"), ConnectionError("n"), RuntimeError("u"))
    found = [desk.processor.errors.describe(error) for error in errors]
    seen = [(info.category, info.retryable) for info in found]
    right = [("Database", True), ("Validation", False), ("Network", True), ("Unknown", True)]
    expect(seen == right, f"{seen}")
    return "Database, Validation, Network and Unknown told apart; Validation alone is not retryable"


async def retry(desk: Desk) -> str:
    """A job that fails runs three times, after 1 s and 2 s."""
    starts: list[float] = []

    async def handler(job: Job) -> None:
        starts.append(job.processed_on or 0.0)
        raise ConnectionError("down")

    desk.processor.job("probe")(handler)
    await desk.queue.add("probe")
    async with desk.working():
        await desk.drained()
    gaps = [(after - before) / desk.unit for before, after in pairwise(starts)]
    expect(len(starts) == 3, f"{len(starts)} runs")
    # in real time a retry may be late; keys have whole milliseconds
    late = [gap - due for gap, due in zip(gaps, (1, 2), strict=True)]
    exact = all(abs(each) < 0.01 for each in late)
    expect(exact or (desk.ground.live and min(late) > -0.1), f"after {gaps} s")
    at_least = "at least " if desk.ground.live else ""
    return f"3 runs, the second {at_least}1 s and the third {at_least}2 s after the one before"


async def not_retryable(desk: Desk) -> str:
    """An error that no retry can mend fails the job at once."""
    runs = 0

    async def handler(job: Job) -> None:
        nonlocal runs
        runs += 1
        raise UnrecoverableError("no") if job.data["kind"] else ValueError("bad")

    desk.processor.job("probe")(handler)
    await desk.queue.add_bulk([("probe", {"kind": kind}) for kind in (0, 1)])
    async with desk.working():
        await desk.drained()
    failed = (await desk.queue.counts())[JobState.FAILED]
    expect((runs, failed) == (2, 2), f"{runs} runs of 2 jobs, {failed} failed")
    return "2 of 2 failed after one run"


async def dead_letters(desk: Desk) -> str:
    """Every job that failed for good is a dead letter with its history, and can be run again."""
    broken = True

    async def handler(job: Job) -> None:
        if broken:
            raise ConnectionError("down")

    desk.processor.job("probe")(handler)
    await desk.queue.add("probe", {"n": 1})
    async with desk.working():
        await desk.drained()
        letters = await desk.letters.list()
        expect(len(letters) == 1, f"{len(letters)} dead letters of 1 failed job")
        history = [row["category"] for row in letters[0].history]
        broken = False
        await desk.letters.redrive()
        await desk.drained()
    counts = await desk.queue.counts()
    expect(history == ["Network"] * len(history) and counts[JobState.COMPLETED] == 1, f"{history}, {counts}")
    return f"1 of 1 with the history of {len(history)} attempts; it ran through when it was redriven"


async def recovery(desk: Desk) -> str:
    """The jobs of a worker that dies run elsewhere: none is lost."""
    done: set[str] = set()

    async def handler(job: Job) -> None:
        await asyncio.sleep(5 * desk.unit)
        done.add(job.id)

    desk.processor.job("probe")(handler)
    ids = await desk.queue.add_bulk([("probe", None)] * 5)
    options = STALLED if not desk.ground.live else WorkerOptions(lock_duration=1.0, stalled_interval=0.5)
    dying = asyncio.create_task(desk.worker("dying", options=options).run())
    await asyncio.sleep(desk.unit)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    if not desk.ground.has("stalled check"):
        options = WorkerOptions(lock_duration=3600.0, stalled_interval=10_000.0)
        await desk.broker.recover_stalled(10_000.0, 1, now())
    async with desk.working(options=options):
        await desk.until(lambda: done == set(ids), 200.0)
    expect(done == set(ids), f"{len(done)} of 5 jobs ran")
    return "a worker died with 5 jobs; another ran 5 of 5"
