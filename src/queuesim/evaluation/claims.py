"""The claims of the task service, each a check that scores its points only on evidence, and the score."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from queuesim.admin.guard import AuditLog
from queuesim.admin.metrics import Meter
from queuesim.core.clock import now
from queuesim.core.errors import DatabaseError, UnrecoverableError
from queuesim.core.job import Job, JobState
from queuesim.core.scheduler import Cron, tick_of
from queuesim.core.worker import WorkerOptions
from queuesim.evaluation.testbed import STALLED, ClaimError, Fixture, ServiceTestBed, expect, post, token
from queuesim.tasks.model import Status
from queuesim.tasks.overdue import reports
from queuesim.tasks.queries import notified
from queuesim.text import as_markdown

Check = Callable[[Fixture], Awaitable[str]]
CLAIMS: list[tuple[str, Check, int]] = []
"""Area, check and points of each claim."""


def claim(area: str, *, points: int = 1) -> Callable[[Check], Check]:
    """Register a check. Its docstring is the claim; it returns the evidence, or raises ClaimError."""

    def register(check: Check) -> Check:
        CLAIMS.append((area, check, points))
        return check

    return register


# -- Claims about the processor: 10 points


@claim("processor")
async def concurrency(fixture: Fixture) -> str:
    """Up to five jobs run at the same time, and no more."""
    running = most = 0

    async def handler(job: Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(fixture.unit)
        running -= 1

    await fixture.run_jobs(handler, [None] * 30)
    expect(most == 5, f"{most} jobs at once")
    return f"{most} of 30 jobs at once"


@claim("processor")
async def limiter(fixture: Fixture) -> str:
    """At most 100 jobs start in a window of 60 s."""
    starts: list[float] = []

    async def handler(job: Job) -> None:
        starts.append(job.processed_on or 0.0)

    await fixture.run_jobs(handler, [None] * 250)
    expect(len(starts) == 250, f"{len(starts)} of 250 jobs started")
    first = sum(start < min(starts) + 59 * fixture.unit for start in starts)
    took = (max(starts) - min(starts)) / fixture.unit
    expect(first <= 100 and took >= 119, f"{first} starts in the first window, 250 in {took:.0f} s")
    return f"{first} starts in the first window, 250 starts in {took:.0f} s"


@claim("processor", points=2)
async def handlers(fixture: Fixture) -> str:
    """The three job types do their work on a real task store, once, however often they run."""
    async with fixture.working():
        task = await fixture.service.create("write", "ann", now())
        await fixture.drained()
        # one after the other: a task that is completed is overdue no longer
        for name, data in (
            ("overdue-tasks-notification", {"task_ids": [task.id]}),
            ("task-created", {"task_id": task.id}),
            ("task-status-update", {"task_id": task.id, "status": "completed", "key": "k"}),
        ):
            await fixture.queue.add_bulk([(name, data)] * 2)
            await fixture.drained()
    kinds = sorted(kind for _, kind, _ in fixture.store.run_now(notified))
    status = (await fixture.service.get(task.id)).status
    expect(kinds == ["created", "overdue"] and status is Status.COMPLETED, f"notified of {kinds}, status {status}")
    return "a status changed, a new and an overdue task notified, each once in two runs"


@claim("processor")
async def validation(fixture: Fixture) -> str:
    """Invalid data never reach a handler, and are not retried."""
    reached = 0
    for job_type in list(fixture.processor.types.values()):

        async def handler(job: Job) -> None:
            nonlocal reached
            reached += 1

        fixture.processor.add(replace(job_type, handler=handler))
    bad = [
        ("task-created", {"task_id": -1}),
        ("task-status-update", {"task_id": 1, "status": "lost", "key": "k"}),
        ("overdue-tasks-notification", {"task_ids": []}),
    ]
    await fixture.queue.add_bulk(bad)
    await fixture.work_off()
    failed = await fixture.queue.get_jobs(JobState.FAILED)
    attempts = [job.attempts_made for job in failed]
    expect(reached == 0 and attempts == [1, 1, 1], f"{reached} reached a handler, attempts {attempts}")
    return "3 of 3 refused before their handler, after one attempt each"


@claim("processor")
async def retention(fixture: Fixture) -> str:
    """The newest 100 completed and 50 failed jobs are kept; the ids of others are free again."""

    async def handler(job: Job) -> None:
        if job.data["fails"]:
            raise ValueError("bad")

    fixture.processor.job("probe")(handler)
    await fixture.queue.add("probe", {"fails": False}, job_id="mine")
    async with fixture.working():
        await fixture.drained()
        await fixture.queue.add_bulk([("probe", {"fails": False})] * 129 + [("probe", {"fails": True})] * 60)
        await fixture.drained()
    counts = await fixture.queue.counts()
    kept = (counts[JobState.COMPLETED], counts[JobState.FAILED])
    free = await fixture.queue.get_job("mine") is None
    expect(kept == (100, 50) and free, f"kept {kept}, the first id is {'free' if free else 'taken'}")
    return "100 of 130 and 50 of 60 are kept; the first one's id is free, so that ids alone deduplicate no longer"


@claim("processor")
async def metrics(fixture: Fixture) -> str:
    """Processed, failed, average time, success rate and health are counted, and can be reset."""

    async def handler(job: Job) -> None:
        await asyncio.sleep(fixture.unit)
        if job.data["fails"]:
            raise ValueError("bad")

    meter = Meter(fixture.queue)
    await fixture.run_jobs(handler, [{"fails": n == 0} for n in range(4)])
    seen = await meter.read()
    expect((seen.processed, seen.failed, seen.success_rate) == (3, 1, 0.75), str(seen))
    average = seen.average_processing_time or 0.0
    expect(0.5 < average / fixture.unit < 20, f"an average of {average} s")
    meter.reset()
    again = await meter.read()
    expect((again.processed, again.failed) == (0, 0), str(again))
    return f"3 processed, 1 failed, success rate 75 %, {seen.health}; 0 and 0 after the reset"


@claim("processor")
async def job_ids(fixture: Fixture) -> str:
    """A job with an existing id is not added again."""
    ids = [f"job-{n}" if not fixture.bed.has("job ids") else "job-0" for n in range(5)]
    for job_id in ids:
        await fixture.queue.add("task-created", {"task_id": 1}, job_id=job_id)
    waiting = (await fixture.queue.counts())[JobState.WAITING]
    expect(waiting == 1, f"{waiting} jobs")
    return "5 adds of one id made 1 job"


@claim("processor")
async def after_commit(fixture: Fixture) -> str:
    """Jobs leave only after their transaction commits; a crash in between loses none."""
    broker: Any = fixture.queue.broker
    broker.add, add = _refuse, broker.add
    try:
        await fixture.service.create("write", "ann")
    except ConnectionError:
        pass  # the process died between commit and queue
    finally:
        broker.add = add
    await fixture.work_off()
    count = len(fixture.store.run_now(notified))
    expect(count == 1, "the task is there, and its job is not")
    return "a crash between commit and queue lost none of 1 jobs"


async def _refuse(*arguments: object) -> list[str]:
    raise ConnectionError("the process died")


@claim("processor")
async def bulk(fixture: Fixture) -> str:
    """Bulk status updates are bulk jobs."""
    tasks = [await fixture.service.create(f"t{n}", "ann") for n in range(60)]
    count = await fixture.service.change_status_bulk([task.id for task in tasks], Status.COMPLETED)
    await fixture.work_off()
    done = sum([(await fixture.service.get(task.id)).status is Status.COMPLETED for task in tasks])
    expect(count == done == 60, f"{done} of {count}")
    return "60 tasks changed by 60 jobs that left together"


# -- Claims about scheduled tasks: 5 points


@claim("scheduled tasks")
async def cron(fixture: Fixture) -> str:
    """A cron line fires once at each tick, however many workers there are."""
    fired: list[float] = []

    async def handler(job: Job) -> None:
        fired.append(tick_of(job.id))

    fixture.processor.job("probe")(handler)
    live = fixture.bed.live
    if fixture.bed.has("cron"):
        await fixture.queue.upsert_scheduler("tick", Cron("* * * * * *" if live else "0 * * * *"), "probe")
    period, ticks = (1.0, 3) if live else (3600.0, 3)
    async with fixture.working(3):
        await fixture.until(lambda: len(fired) >= ticks, period * (ticks + 0.5))
    expect(len(fired) >= ticks, f"{len(fired)} firings in {ticks} ticks")
    expect(len(set(fired)) == len(fired) and all(tick % period == 0 for tick in fired), f"fired for {fired}")
    return f"{len(fired)} firings, one a tick, with 3 workers"


@claim("scheduled tasks")
async def pages(fixture: Fixture) -> str:
    """The scan goes in pages of 100, and misses none."""
    fixture.add_overdue(350)
    (report,) = await fixture.scan().run()
    await fixture.work_off()
    count = fixture.notified()
    expect(report.ended_at is not None, "the scan's end is not recorded")
    expect(report.pages == 4 and len(count) == 350, f"{report.pages} pages, {len(count)} of 350 notified")
    expect(set(count.values()) == {1}, "somebody was notified twice")
    return f"350 tasks in {report.pages} pages, all notified; its begin and end are recorded"


@claim("scheduled tasks")
async def overlaps(fixture: Fixture) -> str:
    """Scans that overlap, by schedule or by hand, notify nobody twice."""
    fixture.add_overdue(150)
    if not fixture.bed.has("deduplication"):
        _without_deduplication(fixture)
    await asyncio.gather(*(fixture.scan(owner=f"s{n}").run("manual") for n in range(3)))
    await fixture.relay.drain()
    found = fixture.store.run_now(reports)
    enqueued, duplicates = sum(r.enqueued for r in found), sum(r.duplicates for r in found)
    await fixture.work_off()
    times = fixture.notified()
    expect(enqueued == 150 and duplicates == 300, f"{enqueued} jobs and {duplicates} duplicates of 150 tasks")
    expect(len(times) == 150 and set(times.values()) == {1}, "somebody was notified twice")
    return f"3 scans of 150 tasks: {enqueued} jobs, {duplicates} duplicates dropped, each notified once"


def _without_deduplication(fixture: Fixture) -> None:
    from dataclasses import replace

    plain = fixture.queue.broker.add

    async def add(jobs, time):  # type: ignore[no-untyped-def]
        return await plain([replace(j, options=replace(j.options, deduplication=None)) for j in jobs], time)

    fixture.queue.broker.add = add  # type: ignore[method-assign]


@claim("scheduled tasks")
async def restart(fixture: Fixture) -> str:
    """A scan that was cut short is taken over where it was."""
    fixture.add_overdue(400)
    scan = fixture.scan(lease=fixture.unit)
    deliver, calls = fixture.delivery.deliver, 0

    async def die(jobs):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConnectionError("the process died")
        return await deliver(jobs)

    fixture.delivery.deliver = die
    try:
        await scan.run("cron", tick=1.0)
    except ConnectionError:
        fixture.delivery.deliver = deliver
    await asyncio.sleep(2 * fixture.unit)
    done = await fixture.scan(lease=fixture.unit, owner="another").run("cron", tick=1.0)
    await fixture.work_off()
    times = fixture.notified()
    expect(len(done) == 1 and len(times) == 400, f"{len(times)} of 400 notified")
    expect(set(times.values()) == {1}, "somebody was notified twice")
    return "died on page 3 of 4; the next one went on, and 400 of 400 were notified once"


@claim("scheduled tasks")
async def administration(fixture: Fixture) -> str:
    """An administrator can trigger the check by HTTP, nobody else can, and the audit log has both."""
    roles = ["admin"], (["user"] if fixture.bed.has("roles") else ["admin"])
    path = "/tasks/admin/trigger-overdue-check"
    allowed = await post(fixture, path, token(roles[0]))
    refused = await post(fixture, path, token(roles[1]))
    anonymous = await post(fixture, path, None)
    rows = await AuditLog(fixture.store).newest(10)
    outcomes = [row.outcome for row in reversed(rows)]
    statuses = (allowed, refused, anonymous)
    expect(statuses == (200, 403, 401), f"an administrator {allowed}, a user {refused}, nobody {anonymous}")
    expect(outcomes == ["done", "refused", "refused"], f"the audit log has {outcomes}")
    return "an administrator 200, a user 403, nobody 401; all three in the audit log"


# -- Claims about error handling: 5 points


@claim("error handling")
async def categories(fixture: Fixture) -> str:
    """Every error has a type, a category and whether it is retryable."""
    errors = (DatabaseError("d"), ValueError("v"), ConnectionError("n"), RuntimeError("u"))
    found = [fixture.processor.errors.describe(error) for error in errors]
    seen = [(info.category, info.retryable) for info in found]
    right = [("Database", True), ("Validation", False), ("Network", True), ("Unknown", True)]
    expect(seen == right, f"{seen}")
    return "Database, Validation, Network and Unknown distinguished; Validation alone is not retryable"


@claim("error handling")
async def retry(fixture: Fixture) -> str:
    """A job that fails runs three times, after 1 s and 2 s."""
    starts: list[float] = []

    async def handler(job: Job) -> None:
        starts.append(job.processed_on or 0.0)
        raise ConnectionError("down")

    await fixture.run_jobs(handler)
    gaps = [(after - before) / fixture.unit for before, after in pairwise(starts)]
    expect(len(starts) == 3, f"{len(starts)} runs")
    # in real time a retry may be late; keys have whole milliseconds
    late = [gap - due for gap, due in zip(gaps, (1, 2), strict=True)]
    exact = all(abs(each) < 0.01 for each in late)
    expect(exact or (fixture.bed.live and min(late) > -0.1), f"after {gaps} s")
    at_least = "at least " if fixture.bed.live else ""
    return f"3 runs, the second {at_least}1 s and the third {at_least}2 s after the one before"


@claim("error handling")
async def not_retryable(fixture: Fixture) -> str:
    """An error that no retry can mend fails the job at once."""
    runs = 0

    async def handler(job: Job) -> None:
        nonlocal runs
        runs += 1
        raise UnrecoverableError("no") if job.data["kind"] else ValueError("bad")

    await fixture.run_jobs(handler, [{"kind": kind} for kind in (0, 1)])
    failed = (await fixture.queue.counts())[JobState.FAILED]
    expect((runs, failed) == (2, 2), f"{runs} runs of 2 jobs, {failed} failed")
    return "2 of 2 failed after one run"


@claim("error handling")
async def dead_letters(fixture: Fixture) -> str:
    """Every job that failed for good is a dead letter with its history, and can be run again."""
    broken = True

    async def handler(job: Job) -> None:
        if broken:
            raise ConnectionError("down")

    await fixture.add_jobs(handler, [{"n": 1}])
    async with fixture.working():
        await fixture.drained()
        letters = await fixture.letters.list()
        expect(len(letters) == 1, f"{len(letters)} dead letters of 1 failed job")
        history = [row["category"] for row in letters[0].history]
        broken = False
        await fixture.letters.redrive()
        await fixture.drained()
    counts = await fixture.queue.counts()
    expect(history == ["Network"] * len(history) and counts[JobState.COMPLETED] == 1, f"{history}, {counts}")
    return f"1 of 1 with the history of {len(history)} attempts; it ran through when it was redriven"


@claim("error handling")
async def recovery(fixture: Fixture) -> str:
    """The jobs of a worker that dies run elsewhere: none is lost."""
    done: set[str] = set()

    async def handler(job: Job) -> None:
        await asyncio.sleep(5 * fixture.unit)
        done.add(job.id)

    ids = await fixture.add_jobs(handler, [None] * 5)
    options = STALLED if not fixture.bed.live else WorkerOptions(lock_duration=1.0, stalled_interval=0.5)
    dying = asyncio.create_task(fixture.worker("dying", options=options).run())
    await asyncio.sleep(fixture.unit)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    if not fixture.bed.has("stalled check"):
        options = WorkerOptions(lock_duration=3600.0, stalled_interval=10_000.0)
        await fixture.broker.recover_stalled(10_000.0, 1, now())
    async with fixture.working(options=options):
        await fixture.until(lambda: done == set(ids), 200.0)
    expect(done == set(ids), f"{len(done)} of 5 jobs ran")
    return "a worker died with 5 jobs; another ran 5 of 5"


# -- The score: every claim is tested, and counts if there is evidence for it


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a claim."""

    area: str
    name: str
    claim: str
    points: int
    """That it is worth."""
    scored: int
    evidence: str
    """What was measured."""


def evaluate(bed: ServiceTestBed) -> Iterator[Verdict]:
    """Try every claim, one after the other."""
    for area, check, points in CLAIMS:
        claim = " ".join((check.__doc__ or "").split())
        name = check.__name__.replace("_", " ")
        try:
            evidence = bed.try_out(check)
        except ClaimError as error:
            yield Verdict(area, name, claim, points, 0, str(error))
        except Exception as error:  # noqa: BLE001 - whatever breaks is no evidence
            yield Verdict(area, name, claim, points, 0, f"{type(error).__name__}: {error}")
        else:
            yield Verdict(area, name, claim, points, points, evidence)


def report(sections: list[tuple[ServiceTestBed, list[Verdict]]], command: str) -> str:
    """The evaluation as Markdown: a section for each bed that claims were tried on."""
    lines = ["# Evaluation", "", f"Made by `{command}`.", ""]
    for bed, verdicts in sections:
        lines += _section(bed, verdicts)
    return "\n".join(lines)


def _section(bed: ServiceTestBed, verdicts: list[Verdict]) -> list[str]:
    total, possible = sum(v.scored for v in verdicts), sum(v.points for v in verdicts)
    off = f", without {', '.join(sorted(bed.without))}" if bed.without else ""
    time = "real time" if bed.live else "virtual time"
    lines = [
        f"## {bed.backend}", "",
        f"{total} of {possible} points, on the backend {bed.backend}{off}, in {time}.", "",
        "| area | points | of |", "|---|---:|---:|",
    ]  # fmt: skip
    for area in dict.fromkeys(v.area for v in verdicts):
        mine = [v for v in verdicts if v.area == area]
        lines.append(f"| {area} | {sum(v.scored for v in mine)} | {sum(v.points for v in mine)} |")
    lines += ["", "| claim | points | evidence |", "|---|---:|---|"]
    lines += [f"| {v.claim} | {v.scored} of {v.points} | {as_markdown(v.evidence)} |" for v in verdicts]
    return [*lines, ""]
