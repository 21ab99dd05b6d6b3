"""Claims about scheduled tasks: 5 points."""

from __future__ import annotations

import asyncio
from collections import Counter

from queuesim.admin.audit import AuditLog
from queuesim.evaluation.ground import Desk, expect
from queuesim.job import Job
from queuesim.schedule import Cron
from queuesim.tasks.filling import fill
from queuesim.tasks.overdue import reports
from queuesim.tasks.queries import told


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
    from queuesim.evaluation.requests import post, token

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
