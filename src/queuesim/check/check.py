"""What will go wrong in a scenario, by arithmetic: each finding with its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from queuesim.check.closed import closed_loads, most_jobs
from queuesim.check.fluid import KNOWN, Fluid, Without, entry_length
from queuesim.check.outline import (
    MARGIN,
    PATIENCE,
    Finding,
    JobOutline,
    batch,
    left_to_chance,
    limiter,
    outlines,
    period,
    rate,
    scaled_up,
    slots,
    slow,
    time,
    whose,
)
from queuesim.core.processor import Processor
from queuesim.faults.producers import ProducerBurst, ProducerFault
from queuesim.faults.redis import RedisDrop
from queuesim.faults.workers import WorkerClockSkew, WorkerDeploy
from queuesim.results.readings import percentile_of
from queuesim.runs.handlers import OVERDUE, is_told
from queuesim.runs.judging import what_is_asked
from queuesim.scenario.jobs import JobSettings
from queuesim.scenario.load import LoadEntry, Segment, TraceJob
from queuesim.scenario.model import Scenario
from queuesim.scenario.queue_settings import WorkerSettings
from queuesim.scenario.thresholds import Threshold

DEVIATIONS = 3.0
"""Standard deviations by which chance may leave a percentile with fewer late jobs than the fluid has."""

MOST_MOMENTS = 500
"""Maximum number of changes of the rates that are examined."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all findings need."""

    scenario: Scenario
    own: Processor | None
    jobs: list[JobOutline]
    moments: list[dict[str, float]]
    """At each moment at which rates change: by job type, jobs per second."""


def examine(scenario: Scenario, own: Processor | None = None) -> list[Finding]:
    """All findings, the most harmful kinds first. `own` is the scenario's own processor, if it names one."""
    scene = _Scene(scenario, own, outlines(scenario, own), list(moments(scenario)))
    jobs = scene.jobs
    overload = [*_overload(scene), *_overdue_batch(scene)]
    late = list(_out_of_reach(scene, overload))
    found = {finding.key for finding in late}
    return [
        *overload,
        *timeouts(scenario),
        *delays(scenario, jobs),
        *late,
        *(finding for finding in closed_loads(scenario, jobs, own) if finding.key not in found),
        *above_the_load(scenario, jobs, own),
        *_deploys(scenario, jobs),
        *_locks(scenario, jobs, own),
        *_retention(scene),
        *_backoffs(scenario, jobs),
        *_concurrency(scene),
    ]


def moments(scenario: Scenario) -> Iterator[dict[str, float]]:
    """The rates by job type just before and after each change of them. Bulks, traces and closed loads have no rate."""
    courses = []
    for entry in scenario.load:
        arrivals = entry.constant or entry.poisson
        length = entry_length(entry, scenario)
        if arrivals is not None and length > 0:
            courses.append((entry.start, arrivals.segments(length), scenario.mix(entry)))
    edges = {
        start + edge
        for start, parts, _ in courses
        for part in parts
        for edge in (part.start, part.start + part.duration)
    }
    chosen = sorted(edges)[:: -(-len(edges) // MOST_MOMENTS) or 1]
    for edge in chosen:
        for after in (False, True):
            rates: dict[str, float] = {}
            for start, parts, mix in courses:
                now = _rate_at(parts, edge - start, after=after)
                for name, share in mix.items():
                    rates[name] = rates.get(name, 0.0) + now * share
            yield rates


def _rate_at(parts: tuple[Segment, ...], time: float, *, after: bool) -> float:
    """The rate just before or just after a time."""
    for part in parts:
        end = part.start + part.duration
        if part.start <= time < end if after else part.start < time <= end:
            return part.rate + (part.target - part.rate) * (time - part.start) / part.duration
    return 0.0


def _busiest(scene: _Scene, load: Callable[[JobOutline], float]) -> tuple[dict[str, float], float]:
    """The rates at the busiest moment, and the load that they bring per second then."""
    best: tuple[dict[str, float], float] = {}, 0.0
    for rates in scene.moments:
        brought = sum(rates.get(job.name, 0.0) * load(job) for job in scene.jobs)
        if brought > best[1]:
            best = rates, brought
    return best


def _overload(scene: _Scene) -> Iterator[Finding]:
    """The load needs more starts than the limiter or the slots allow: the backlog grows without end."""
    limit = limiter(scene.scenario, scene.own)
    rates, starts = _busiest(scene, lambda job: job.starts)
    if limit is not None and starts > limit.max / limit.duration:
        capacity = limit.max / limit.duration
        yield Finding(
            "limiter below arrivals",
            "workers.limiter",
            f"{rate(sum(rates.values()))} arrive at the busiest time, which with retries makes {rate(starts)} starts; "
            f"the limiter allows {rate(capacity)}. The backlog grows by {rate(starts - capacity)} meanwhile.",
        )
    there = slots(scene.scenario, scene.own)
    _, work = _busiest(scene, lambda job: job.work)
    if work > there:
        yield Finding(
            "too few slots",
            "workers.concurrency",
            f"jobs bring {work:.3g} s of work per second at the busiest time, retries included, and there are {there} "
            f"slots: at least {math.ceil(work) if work < 1e12 else work:.0f} are needed.",
        )


def _out_of_reach(scene: _Scene, overload: list[Finding]) -> Iterator[Finding]:
    """A threshold that waits exceed which no luck can shorten, unless an overload is the reason that was found."""
    scenario = scene.scenario
    asked = [
        (i, each) for i, each in enumerate(scenario.thresholds) if _about_waits(each) and not _thinned(scenario, each)
    ]
    if not asked or scaled_up(scenario):
        return

    def play(without: Without | None = None) -> Fluid:
        return Fluid(scenario, scene.jobs, scene.own, without)

    whole = play()
    missed = [(i, threshold, value) for i, threshold in asked if _misses(threshold, value := whole.value(threshold))]
    if left_to_chance(scenario):
        missed = [each for each in missed if _misses(each[1], whole.value(each[1], DEVIATIONS))]
    if not missed:
        return
    others: dict[str, Fluid] = {}

    def without(name: str) -> Fluid:
        if name not in others:
            others[name] = play(_WITHOUT[name])
        return others[name]

    for i, threshold, value in missed:
        cause = next((name for name in _WITHOUT if not _misses(threshold, without(name).value(threshold))), None)
        if overload and (cause is None or (cause == _BATCH and overload[-1].key == "overdue")):
            continue
        shown = f"{value:,.0f} jobs" if threshold.metric == "unfinished" else time(value)
        name = cause or "threshold out of reach"
        message = f'"{threshold.text}"{whose(threshold)}: expected about {shown}, {CAUSES[name]}.'
        yield Finding(name, f"thresholds[{i}]", message, value)


_BATCH = "batch outlives a threshold"

_WITHOUT = {
    "outage outlives a threshold": Without(stoppages=True),
    "deploy outlives a threshold": Without(deploys=True),
    "type starved by priority": Without(priorities=True),
    _BATCH: Without(batches=True),
}
"""What to leave out of the scenario: if the threshold holds then, that is the cause."""

CAUSES = {
    "outage outlives a threshold": "because no job can start while Redis or the queue is stopped",
    "deploy outlives a threshold": "because slots are missing during the deploy",
    "type starved by priority": "because more urgent jobs are served first",
    _BATCH: "because the last jobs of a batch wait for all others",
    "threshold out of reach": "even without random delays",
}


def _about_waits(threshold: Threshold) -> bool:
    upper = threshold.operator in ("<", "<=") or (threshold.metric == "unfinished" and threshold.operator == "==")
    return upper and threshold.metric in KNOWN and threshold.statistic not in ("min", "std")


def _thinned(scenario: Scenario, threshold: Threshold) -> bool:
    """Whether the threshold also counts jobs of a closed load, which the fluid leaves out.

    A maximum and a number of jobs are only larger with them.
    """
    if threshold.statistic == "max" or threshold.metric == "unfinished":
        return False
    return any(
        entry.closed is not None and threshold.where.job in (None, *scenario.mix(entry))
        for entry in scenario.load
        if threshold.where.load in (None, entry.name)
    )


def _misses(threshold: Threshold, value: float) -> bool:
    if threshold.metric == "unfinished":
        return value > threshold.limit * MARGIN + 1
    return value > threshold.limit * MARGIN


def _deploys(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """Jobs that take longer than a worker is given to finish them are killed with it, and run again."""
    for i, entry in enumerate(scenario.faults):
        deploy = entry.settings
        if not isinstance(deploy, WorkerDeploy):
            continue
        for job in jobs:
            if job.slow is not None and job.slow > deploy.grace:
                stalled = max(workers.lock_duration + workers.stalled_interval for workers in scenario.workers)
                yield Finding(
                    "deploy grace shorter than slow jobs",
                    f"faults[{i}].worker.deploy.grace",
                    f"one attempt of {job.name} in a thousand takes {time(job.slow)} or more, and workers get "
                    f"{time(deploy.grace)} to finish what they run: such an attempt is killed, its job is found "
                    f"stalled up to {time(stalled)} later, and runs again.",
                )


def _overdue_batch(scene: _Scene) -> Iterator[Finding]:
    """The batch is not done when the next scan comes, which finds all that is left of it again."""
    scenario, jobs, own = scene.scenario, scene.jobs, scene.own
    overdue, limit, size, between = scenario.overdue, limiter(scenario, own), batch(scenario), period(scenario)
    if overdue is None or not size or between is None:
        return
    _, others = _busiest(scene, lambda job: 0.0 if job.name == OVERDUE else job.starts)
    notify = next((job for job in jobs if job.name == OVERDUE), None)
    starts, work = (1.0, 0.0) if notify is None else (notify.starts, notify.work)
    speeds = [slots(scenario, own) / work] if work else []
    if limit is not None:
        speeds.append(max(limit.max / limit.duration - others, 0.0) / starts)
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
    """A lock that is not renewed in time: the job counts as stalled, and runs a second time."""
    for name, settings in scenario.jobs.items():
        blocked = 0.0 if settings.blocking is None else slow(settings.blocking)
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
    """Seconds between two renewals of locks, each of those that are older than that (BullMQ 6.7)."""
    return (workers.lock_renew or workers.lock_duration / 2) / 2


def _bears(workers: WorkerSettings, own: Processor | None) -> float:
    """For how long the event loop can be held before a lock may end: when it begins, the job's own is new, and that of
    one beside it was renewed two looks ago at most."""
    concurrency = workers.concurrency or (1 if own is None else own.concurrency)
    return max(workers.lock_duration - (2 * _look(workers) if concurrency > 1 else 0.0), 0.0)


def _retention(scene: _Scene) -> Iterator[Finding]:
    """A custom id only keeps a second job away while the first one is kept."""
    scenario, own = scene.scenario, scene.own
    given = scenario.queue.keep.completed
    keep = given.model() if given is not None else None if own is None else own.keep_completed
    arrivals, between = _busiest(scene, lambda job: 1.0)[1], period(scenario)
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


def _backoffs(scenario: Scenario, jobs: list[JobOutline]) -> Iterator[Finding]:
    """The last attempt comes after the job's caller has given up. Nobody waits for a background job."""
    for job in jobs:
        for patience, share, who in _callers(scenario, job.name):
            waits = job.backoff(share)
            if waits > patience:
                yield Finding(
                    "backoff outlives the caller",
                    f"jobs.{job.name}.backoff",
                    f"the retries of {job.name} wait {time(waits)} together, with {job.attempts} attempts at most: "
                    f"longer than the {time(patience)} {who}.",
                )
                break


def _callers(scenario: Scenario, name: str) -> Iterator[tuple[float, float, str]]:
    """The callers that wait for jobs of a type: for how many seconds, and which share of jobs may take longer."""
    shares: dict[str, float] = {}
    for entry in scenario.load:
        if entry.trace is None:
            shares[entry.name] = scenario.mix(entry).get(name, 0.0)
        if entry.closed is not None and shares[entry.name]:
            yield PATIENCE, 0.0, f"for which a caller usually waits, as the producers of {entry.name} do"
    for threshold in scenario.thresholds:
        if threshold.metric != "latency" or threshold.operator not in ("<", "<="):
            continue
        where = threshold.where
        if where.job not in (None, name) or (where.load is not None and not shares.get(where.load)):
            continue
        share = _share_allowed(threshold)
        if share is not None:
            # the share refers to all jobs of the threshold, of which these are a part
            part = 1.0 if where.job == name else _part(scenario, name, where.load)
            yield threshold.limit, min(share / part, 1.0) if part else 1.0, f'that "{threshold.text}" allows'


def _share_allowed(threshold: Threshold) -> float | None:
    """The share of jobs that may exceed the limit; None if the statistic does not say."""
    if threshold.statistic == "max":
        return 0.0
    percentile = 50.0 if threshold.statistic == "median" else percentile_of(threshold.statistic or "")
    return None if percentile is None else 1 - percentile / 100


def _part(scenario: Scenario, name: str, load: str | None) -> float:
    """The share of a type among the jobs of a load, or its largest one in any load."""
    mixes = [scenario.mix(entry) for entry in scenario.load if entry.trace is None and load in (None, entry.name)]
    return max((mix.get(name, 0.0) for mix in mixes), default=1.0)


def _concurrency(scene: _Scene) -> Iterator[Finding]:
    """More slots than the limiter can ever fill, by Little's law."""
    scenario, own = scene.scenario, scene.own
    rates, _ = _busiest(scene, lambda job: job.starts)
    limit, there = limiter(scenario, own), slots(scenario, own)
    services = [(rates.get(job.name) or 1e-12, job.service) for job in scene.jobs if job.service is not None]
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


# -- What will go wrong with a processor, by arithmetic, whatever load comes to it

HOUR = 3600.0
"""Seconds: ids that are free again before that keep no two runs of an hourly task apart."""


def examine_processor(processor: Processor) -> list[Finding]:
    """All findings, the most harmful kinds first."""
    return [
        *_retention_of_processor(processor),
        *_concurrency_of_processor(processor),
    ]


def _retention_of_processor(processor: Processor) -> Iterator[Finding]:
    """A custom id only keeps a second job away while the first one is kept."""
    keep, limit = processor.keep_completed, processor.limiter
    if keep is None or keep.count is None or limit is None:
        return
    pace = limit.max / limit.duration
    if keep.count / pace < HOUR:
        yield Finding(
            "retention undoes deduplication",
            "keep_completed",
            f"{keep.count} completed jobs are kept, which at the limiter's {rate(pace)} is {time(keep.count / pace)}; "
            "after that their ids are free, and a job of the same id is added again.",
        )


def _concurrency_of_processor(processor: Processor) -> Iterator[Finding]:
    """More slots than the limiter can ever fill, by Little's law, even if all jobs take as long as they may."""
    limit, types = processor.limiter, processor.types.values()
    timeouts = [job_type.timeout for job_type in types if job_type.timeout is not None]
    if limit is None or not timeouts or len(timeouts) < len(types):
        return
    busy = limit.max / limit.duration * max(timeouts)
    if processor.concurrency > max(4 * busy, 1):
        yield Finding(
            "concurrency that the limiter makes useless",
            "concurrency",
            f"at the limiter's {rate(limit.max / limit.duration)} and {time(max(timeouts))} an attempt, which is the "
            f"longest timeout, {busy:.2g} jobs run at once on average (Little's law), and there are "
            f"{processor.concurrency} slots.",
        )


# -- What can't happen, whatever chance does


MORE_JOBS = (ProducerFault, ProducerBurst, RedisDrop)
"""Faults by which more jobs are added than the load entries say."""
COUNT_DEVIATIONS = 5.0
"""Standard deviations by which a random number of jobs may exceed its mean."""


def timeouts(scenario: Scenario) -> Iterator[Finding]:
    """A timeout below the shortest service time: every attempt is cancelled."""
    recorded = {job.name for job in _trace_jobs(scenario) if is_told(job)}
    used = _types(scenario)
    for name, settings in scenario.jobs.items():
        if settings.service is None or settings.timeout is None or name in recorded or name not in used:
            continue
        least = _least(settings)
        if least > settings.timeout:
            always = settings.service.constant is not None and settings.blocking is None
            yield Finding(
                "timeout below the service time",
                f"jobs.{name}.timeout",
                f"an attempt of {name} takes {time(least)}{'' if always else ' or more'}, and is cancelled after "
                f"{time(settings.timeout)}: every attempt fails, and no job completes.",
            )


def _least(settings: JobSettings) -> float:
    """Seconds that an attempt takes at least. One that only blocks, and never waits, can't be cancelled: 0."""
    assert settings.service is not None
    service = settings.service.model().minimum
    blocking = 0.0 if settings.blocking is None else settings.blocking.model().minimum
    return service + blocking if service else 0.0


def delays(scenario: Scenario, jobs: Sequence[JobOutline]) -> Iterator[Finding]:
    """A delay that ends after the run: no job of the type ever starts."""
    end = scenario.duration + scenario.drain_time
    if any(isinstance(entry.settings, WorkerClockSkew) for entry in scenario.faults):
        # a worker whose clock is ahead starts delayed jobs too early
        return
    for job in jobs:
        if job.name == OVERDUE and scenario.overdue is not None:
            continue
        ready = min(_ready(scenario, job), default=None)
        if ready is not None and ready > end:
            yield Finding(
                "delay longer than the run",
                f"jobs.{job.name}.delay",
                f"the first job of {job.name} may start at {time(ready)} at the earliest, and the run is over at "
                f"{time(end)}: none ever starts.",
            )


def _ready(scenario: Scenario, job: JobOutline) -> Iterator[float]:
    """For each source of jobs of a type, when its first one may start at the earliest."""
    for entry in scenario.load:
        length = entry_length(entry, scenario)
        if entry.trace is not None:
            yield from (
                entry.start + row.at + row.delay for row in entry.trace.jobs if row.name == job.name and row.at < length
            )
        elif job.name in scenario.mix(entry) and length > 0:
            yield entry.start + _first(entry) + job.options.delay


def _first(entry: LoadEntry) -> float:
    """Seconds from the start of a load entry to its first job, at least."""
    if entry.bulk is None:
        return 0.0
    return entry.bulk.offset if entry.bulk.at is None else entry.bulk.at


def above_the_load(scenario: Scenario, jobs: Sequence[JobOutline], own: Processor | None) -> Iterator[Finding]:
    """A threshold that wants more jobs, or more of them a second, than the load adds."""
    if any(isinstance(entry.settings, MORE_JOBS) for entry in scenario.faults):
        return
    if any(threshold.abort for threshold in scenario.thresholds):
        # a run that ends early divides by a shorter time
        return
    for i, threshold in enumerate(scenario.thresholds):
        if threshold.metric not in ("throughput", "completed", "added") or threshold.operator not in (">", ">="):
            continue
        most, parts = _most(scenario, threshold, jobs, own), _parts(scenario, threshold)
        if most is None or parts is None:
            continue
        bound = most / parts
        if threshold.limit > bound * MARGIN and threshold.limit > bound + 1e-9:
            shown = rate(bound) if threshold.metric == "throughput" else f"{bound:,.0f} jobs"
            yield Finding(
                "threshold above the load",
                f"thresholds[{i}]",
                f'"{threshold.text}"{whose(threshold)}: the load adds {shown} at most, even allowing for chance.',
                bound,
            )


def _most(scenario: Scenario, threshold: Threshold, jobs: Sequence[JobOutline], own: Processor | None) -> float | None:
    """Maximum number of added jobs of those that a threshold counts; None if unknown."""
    where = threshold.where
    if where.load is None and (own is not None or (scenario.overdue is not None and where.job in (None, OVERDUE))):
        return None
    total, varies = 0.0, False
    asked = what_is_asked(scenario, scenario.duration).loads
    for entry, load in zip(scenario.load, asked, strict=True):
        share = 1.0 if where.job is None else load.types.get(where.job, 0.0)
        if where.load not in (None, entry.name) or not share:
            continue
        total += share * (load.jobs if entry.closed is None else most_jobs(scenario, entry, jobs, own))
        varies = varies or load.random or entry.closed is not None or share < 1
    return total + (COUNT_DEVIATIONS * math.sqrt(total) + 1 if varies else 0.0)


def _parts(scenario: Scenario, threshold: Threshold) -> float | None:
    """Minimum divisor that turns a number of jobs into the threshold's metric; None if unknown.

    The jobs of the warm-up may finish after it. Windows that lie side by side share the jobs: the worst one has no more
    than the mean.
    """
    span = scenario.duration - scenario.warmup
    if threshold.over is None:
        return (span if span > 0 else None) if threshold.metric == "throughput" else 1.0
    windows = math.floor(span / threshold.over)
    if windows < 1:
        return None
    return windows * (threshold.over if threshold.metric == "throughput" else 1.0)


def _trace_jobs(scenario: Scenario) -> list[TraceJob]:
    return [job for entry in scenario.load if entry.trace is not None for job in entry.trace.jobs]


def _types(scenario: Scenario) -> set[str]:
    """The job types that are added at all."""
    names = {job.name for job in _trace_jobs(scenario)}
    for entry in scenario.load:
        if entry.trace is None:
            names |= set(scenario.mix(entry))
    return names if scenario.overdue is None else names | {OVERDUE}
