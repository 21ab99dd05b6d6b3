"""What will go wrong in a scenario, by arithmetic: each finding with its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from queuesim.check.finding import PATIENCE, Finding, rate, time
from queuesim.check.outline import JobOutline, batch, limiter, outlines, period, slots, slow
from queuesim.processor import Processor
from queuesim.scenario.handlers import OVERDUE
from queuesim.scenario.queue_schema import WorkerSettings
from queuesim.scenario.schema import Scenario


def examine(scenario: Scenario, own: Processor | None = None) -> list[Finding]:
    """All findings, the most harmful kinds first. `own` is the scenario's own processor, if it names one."""
    jobs = outlines(scenario, own)
    return [
        *_overload(scenario, jobs, own),
        *_overdue_batch(scenario, jobs, own),
        *_locks(scenario, jobs, own),
        *_retention(scenario, jobs, own),
        *_backoffs(jobs),
        *_concurrency(scenario, jobs, own),
    ]


def _overload(scenario: Scenario, jobs: list[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """More starts are needed than the limiter or the slots allow: the backlog grows without end."""
    arrivals, starts = sum(job.rate for job in jobs), sum(job.rate * job.starts for job in jobs)
    limit = limiter(scenario, own)
    if limit is not None and starts > limit.max / limit.duration:
        capacity = limit.max / limit.duration
        yield Finding(
            "limiter below arrivals",
            "workers.limiter",
            f"{rate(arrivals)} arrive at the busiest time, which with retries makes {rate(starts)} starts; "
            f"the limiter allows {rate(capacity)}. The backlog grows by {rate(starts - capacity)} meanwhile.",
        )
    known = [job for job in jobs if job.service is not None]
    work = sum(job.rate * job.starts * (job.service or 0.0) for job in known)
    if work > slots(scenario, own):
        yield Finding(
            "too few slots",
            "workers.concurrency",
            f"jobs bring {work:.3g} s of work a second, retries counted, and there are {slots(scenario, own)} slots: "
            f"{-(-work // 1):.0f} are needed at least.",
        )


def _overdue_batch(scenario: Scenario, jobs: list[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """The batch is not done when the next scan comes, which finds all that is left of it again."""
    overdue, limit, size, between = scenario.overdue, limiter(scenario, own), batch(scenario), period(scenario)
    if overdue is None or not size or between is None:
        return
    others = sum(job.rate * job.starts for job in jobs if job.name != OVERDUE)
    service = next((job.service or 0.0 for job in jobs if job.name == OVERDUE), 0.0)
    speeds = [slots(scenario, own) / service] if service else []
    if limit is not None:
        speeds.append(max(limit.max / limit.duration - others, 0.0))
    if not speeds:
        return
    takes = size / min(speeds) if min(speeds) else float("inf")
    if takes > between:
        lasts = "never end" if takes == float("inf") else f"take {time(takes)}"
        advice = (
            "" if overdue.per == "page" else f'; "per: page" makes {-(-overdue.backlog // overdue.page_size):,} jobs'
        )
        yield Finding(
            "overdue batch outlives its period",
            "overdue",
            f"{size:,} notification jobs at {rate(min(speeds))} {lasts}, and scans come every {time(between)}: each "
            f"finds what is left again{advice}.",
        )


def _locks(scenario: Scenario, jobs: list[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """A lock that is not renewed in time: the job is taken for stalled, and runs a second time."""
    for name, settings in scenario.jobs.items():
        blocked = 0.0 if settings.blocking is None else slow(settings.blocking.model())
        bears = min(_bears(workers, own) for workers in scenario.workers)
        if blocked > bears:
            yield Finding(
                "lock shorter than a blocking job",
                f"jobs.{name}.blocking",
                f"one attempt in a thousand holds the event loop for {time(blocked)} or more, in which no lock of its "
                f"worker is renewed: after {time(bears)} the first may end, and such jobs run twice.",
            )
    for workers in scenario.workers:
        for job in jobs:
            if _look(workers) >= workers.lock_duration and job.slow is not None and job.slow > workers.lock_duration:
                yield Finding(
                    "lock shorter than slow jobs",
                    "workers.lock_duration",
                    f"one attempt of {job.name} in a thousand takes {time(job.slow)} or more; locks last "
                    f"{time(workers.lock_duration)}, and are renewed every {time(_look(workers))}, which is too late: "
                    "such jobs run twice.",
                )


def _look(workers: WorkerSettings) -> float:
    """Seconds between two looks at which locks are to be renewed: those that are older than that (BullMQ 6.7)."""
    return (workers.lock_renew or workers.lock_duration / 2) / 2


def _bears(workers: WorkerSettings, own: Processor | None) -> float:
    """For how long the event loop can be held before a lock may end: when it begins, the job's own is new, and that of
    one beside it was renewed two looks ago at most."""
    concurrency = workers.concurrency or (1 if own is None else own.concurrency)
    return max(workers.lock_duration - (2 * _look(workers) if concurrency > 1 else 0.0), 0.0)


def _retention(scenario: Scenario, jobs: list[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """A custom id only keeps a second job away while the first one is kept."""
    given = scenario.queue.keep.completed
    keep = given.model() if given is not None else None if own is None else own.keep_completed
    arrivals, between = sum(job.rate for job in jobs), period(scenario)
    if keep is None or keep.count is None or not arrivals or between is None:
        return
    kept = keep.count / arrivals
    if kept < between:
        yield Finding(
            "retention undoes deduplication",
            "queue.keep.completed",
            f"{keep.count} completed jobs are kept, which at {rate(arrivals)} is {time(kept)}; after that their ids "
            f"are free, and a job of the same id is added again. Scans come every {time(between)}: job ids alone would "
            "not keep their notifications apart.",
        )


def _backoffs(jobs: list[JobOutline]) -> Iterator[Finding]:
    """The last attempt comes when nobody waits for it any more."""
    for job in jobs:
        if job.backoff > PATIENCE:
            yield Finding(
                "backoff outlives the caller",
                f"jobs.{job.name}.backoff",
                f"the retries of {job.name} wait {time(job.backoff)} together before attempt {job.attempts}: longer "
                f"than the {time(PATIENCE)} for which a caller usually waits.",
            )


def _concurrency(scenario: Scenario, jobs: list[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """By Little's law the limiter never lets so many jobs run at once."""
    limit, there = limiter(scenario, own), slots(scenario, own)
    services = [(job.rate or 1e-12, job.service) for job in jobs if job.service is not None]
    if limit is None or not services:
        return
    mean = sum(share * service for share, service in services) / sum(share for share, _ in services)
    busy = limit.max / limit.duration * mean
    if there > max(4 * busy, 1):
        yield Finding(
            "concurrency that the limiter makes useless",
            "workers.concurrency",
            f"at {rate(limit.max / limit.duration)} and {time(mean)} an attempt {busy:.2g} jobs run at once on "
            f"average (Little's law); {there} slots only make each window's jobs start sooner, not more of them.",
        )
