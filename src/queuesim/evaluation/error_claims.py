"""Claims about error handling: 5 points."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from queuesim.clock import now
from queuesim.errors import DatabaseError, UnrecoverableError
from queuesim.evaluation.ground import STALLED, Desk, expect
from queuesim.job import Job, JobState
from queuesim.worker import WorkerOptions


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
