"""The digest: what happened, in words and short tables, as the terminal and the notebook both show it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from queuesim.metrics.text import brief, counted, percent, rate, readable

if TYPE_CHECKING:
    from queuesim.metrics.result import Result
    from queuesim.metrics.summary import Summary, Totals

COUNTS = ("job", "added", "completed", "failed", "left", "lost", "attempts")
"""Columns of `counts`."""

TIMES = ("job", "wait p50", "p95", "p99", "latency p50", "p95", "p99", "service mean")
"""Columns of `times`."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A check in words."""

    status: str
    """One of STATUSES."""
    text: str


def headline(result: Result) -> str:
    """What happened, in a sentence or two."""
    facts, jobs = result.facts, result.summary().jobs
    told = [f"{jobs.completed:,} completed", f"{jobs.failed:,} failed for good"]
    told += [f"{jobs.unfinished:,} had not finished"] if jobs.unfinished else []
    told += [f"{jobs.removed:,} were removed"] if jobs.removed else []
    told += [f"{jobs.lost:,} were LOST"] if jobs.lost else []
    measured = f" after a warm-up of {readable(facts.warmup)}" if facts.warmup else ""
    sentence = f"{counted(jobs.added, 'job')} in {readable(facts.duration)}{measured}: {_and(told)}."
    if jobs.latency.count:
        sentence += f" Of those that finished, 95 % took at most {readable(jobs.latency.p95)}."
    if facts.stopped:
        sentence += f" The run was stopped early ({facts.stopped})."
    return sentence


def origin(result: Result) -> str:
    """What was run, in a line."""
    facts = result.facts
    slots = f"{counted(facts.workers, 'worker')}, {counted(facts.concurrency, 'slot')}"
    wall = f", played in {readable(facts.wall)}" if facts.wall else ""
    return f"{facts.scenario} on {facts.backend}, seed {facts.seed}, {slots}{wall}"


def totals(result: Result) -> list[tuple[str, str]]:
    """The numbers of the whole run, each with its label."""
    summary = result.summary()
    jobs = summary.jobs
    failing = f" (success rate {percent(jobs.success_rate)})" if jobs.completed + jobs.failed else ""
    return [
        ("jobs added", f"{jobs.added:,}"),
        ("completed", f"{jobs.completed:,}{failing}"),
        ("failed for good", f"{jobs.failed:,}"),
        ("unfinished at the end", f"{jobs.unfinished:,}"),
        *([("removed", f"{jobs.removed:,}")] if jobs.removed else []),
        ("lost", f"{jobs.lost:,}"),
        (
            "attempts",
            f"{jobs.attempts:,} ({_number(jobs.retry_amplification)} per job, {jobs.retries:,} to be retried)",
        ),
        ("throughput", rate(summary.throughput)),
        ("utilisation", percent(summary.utilisation)),
        ("backlog", _backlog(summary)),
    ]


def counts(result: Result) -> list[tuple[str, ...]]:
    """A row for each job name, and one for all where there are several; the columns are COUNTS."""
    rows = []
    for name, jobs in _named(result.summary()):
        numbers = (jobs.added, jobs.completed, jobs.failed, jobs.unfinished, jobs.lost, jobs.attempts)
        rows.append((name, *(f"{number:,}" for number in numbers)))
    return rows


def times(result: Result) -> list[tuple[str, ...]]:
    """A row for each job name, and one for all where there are several; the columns are TIMES."""
    rows = []
    for name, jobs in _named(result.summary()):
        spreads = [(spread.p50, spread.p95, spread.p99) for spread in (jobs.waiting, jobs.latency)]
        rows.append((name, *(brief(value) for value in (*spreads[0], *spreads[1], jobs.service.mean))))
    return rows


def _named(summary: Summary) -> list[tuple[str, Totals]]:
    named = [(name, jobs) for name, jobs in summary.by_name.items() if jobs.added]
    return [*named, ("all", summary.jobs)] if len(named) > 1 else named


def outcomes(result: Result) -> list[str]:
    """How attempts ended, and the categories of their errors."""
    summary = result.summary()
    if not summary.outcomes:
        return ["no attempt was made"]
    lines = ["attempts: " + ", ".join(f"{count:,} {name}" for name, count in summary.outcomes.items())]
    if summary.errors:
        lines.append("errors: " + ", ".join(f"{name} {count:,}" for name, count in summary.errors.items()))
    return lines


def limiter(result: Result) -> str | None:
    """What the rate limiter did; None if there is none."""
    summary = result.summary()
    use = summary.limiter
    if use is None:
        return None
    told = (
        f"limiter, {use.max:,} per {readable(use.duration)}: {use.full:,} of {counted(use.windows, 'window')} used up"
    )
    if not use.time_limited:
        return told
    share = percent(use.time_limited / (summary.end - summary.start))
    return f"{told}; nothing could start for {readable(use.time_limited)} ({share} of the time)"


def checks(result: Result) -> list[CheckLine]:
    """Each threshold with what was measured, each oracle that found something, and a line for those that did not."""
    frame = result.checks
    quiet = (frame["kind"] == "oracle") & (frame["status"] == "passed")
    told = frame[~quiet]
    columns = (told[name].tolist() for name in ("status", "check", "value", "limit", "at", "detail"))
    lines = [CheckLine(status, _check(status, *rest)) for status, *rest in zip(*columns, strict=True)]
    if quiet.any():
        lines.append(CheckLine("passed", f"{counted(int(quiet.sum()), 'oracle')} found no violation"))
    return lines


def _check(status: str, name: str, value: float, limit: str, at: float, detail: str) -> str:
    if status == "not judged":
        return f"{name}: {detail}"
    measured = "nothing to measure" if math.isnan(value) else f"measured {value:.6g}"
    asked = "" if limit in name else f" {limit}"
    when = "" if math.isnan(at) else f" at {readable(at)}"
    return f"{name}{asked}: {measured}{when}{f' ({detail})' if detail else ''}"


def _backlog(summary: Summary) -> str:
    if not summary.backlog_max:
        return "none" if summary.end > summary.start else "–"
    highest = f"at most {summary.backlog_max:,} at {readable(summary.backlog_max_at)}"
    return f"{_number(summary.backlog_mean)} on average; {highest}; {summary.backlog_end:,} at the end"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _and(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
