"""The digest: what happened, in words and short tables, as the terminal and the notebook both show it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from queuesim.core.errors import AbandonedError
from queuesim.results.engines import EngineKind
from queuesim.results.summary import Run, Summary, Totals
from queuesim.results.top_errors import TopError, errors_of_result, one_line
from queuesim.text import COUNTED, brief, counted, measured, percent, rate, readable, shown

COUNTS = ("job", "added", "completed", "failed", "left", "lost", "attempts")
"""Columns of `counts`."""

TIMES = ("job", "wait p50", "p95", "p99", "latency p50", "p95", "p99", "service mean")
"""Columns of `times`."""

ERRORS = ("attempts", "jobs", "job", "error", "first", "message")
"""Columns of `errors`."""

MOST_ERRORS = 5
"""Top errors that are shown."""
MOST_NAMED = 4
"""Failed checks that the verdict names."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A check in words."""

    status: str
    """One of STATUSES."""
    text: str
    name: str = ""
    """Of the check; "" for a line about several."""


def headline(result: Run) -> str:
    """What happened, in a sentence or two."""
    facts, jobs = result.facts, result.summary().jobs
    parts = [f"{jobs.completed:,} completed", f"{jobs.failed:,} failed for good"]
    parts += [f"{jobs.unfinished:,} had not finished"] if jobs.unfinished else []
    parts += [f"{jobs.removed:,} were removed"] if jobs.removed else []
    parts += [f"{jobs.lost:,} were LOST"] if jobs.lost else []
    span = f"{readable(facts.duration - facts.warmup)}{after_warmup(result)}"
    sentence = f"{counted(jobs.added, 'job')} in {span}: {_and(parts)}."
    if jobs.latency.count:
        sentence += f" Of those that finished, 95 % took at most {readable(jobs.latency.p95)}."
    if facts.stopped:
        sentence += f" The run was stopped early ({shown(facts.stopped)})."
    return sentence


def after_warmup(result: Run) -> str:
    """What is added to the length of the measured time, where that is not the whole run."""
    warmup = result.facts.warmup
    return f" after a warm-up of {readable(warmup)}" if warmup else ""


def origin(result: Run) -> str:
    """What was run, in a line."""
    facts = result.facts
    slots = f"{counted(facts.workers, 'worker')}, {counted(facts.concurrency, 'slot')}"
    wall = f", played in {readable(facts.wall)}" if facts.wall else ""
    engine = f" by the {facts.engine} engine" if facts.wall and facts.engine is EngineKind.COMPILED else ""
    return f"{shown(facts.scenario)} on {facts.backend}, seed {facts.seed}, {slots}{wall}{engine}"


def engine(result: Run) -> str:
    """What played in virtual time, and why it was not the compiled engine; "" if that is unknown."""
    facts = result.facts
    if facts.engine is None:
        return ""
    why = "" if facts.not_compiled is None else f": {facts.not_compiled.text}"
    return f"{facts.engine} engine{why}"


def totals(result: Run) -> list[tuple[str, str]]:
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


def counts(result: Run) -> list[tuple[str, ...]]:
    """A row for each job name, and one for all where there are several; the columns are COUNTS."""
    rows = []
    for name, jobs in _named(result.summary()):
        numbers = (jobs.added, jobs.completed, jobs.failed, jobs.unfinished, jobs.lost, jobs.attempts)
        rows.append((shown(name), *(f"{number:,}" for number in numbers)))
    return rows


def times(result: Run) -> list[tuple[str, ...]]:
    """A row for each job name, and one for all where there are several; the columns are TIMES."""
    rows = []
    for name, jobs in _named(result.summary()):
        spreads = [(spread.p50, spread.p95, spread.p99) for spread in (jobs.waiting, jobs.latency)]
        rows.append((shown(name), *(brief(value) for value in (*spreads[0], *spreads[1], jobs.service.mean))))
    return rows


def _named(summary: Summary) -> list[tuple[str, Totals]]:
    named = [(name, jobs) for name, jobs in summary.by_name.items() if jobs.added]
    return [*named, ("all", summary.jobs)] if len(named) > 1 else named


def outcomes(result: Run) -> list[str]:
    """How attempts ended, and the categories of their errors."""
    summary = result.summary()
    if not summary.outcomes:
        return ["no attempt was made"]
    lines = ["attempts: " + ", ".join(f"{count:,} {name}" for name, count in summary.outcomes.items())]
    if summary.errors:
        kinds = _without_stalls(result, summary)
        lines.append("errors: " + ", ".join(f"{shown(name)} {count:,}" for name, count in kinds.items()))
    return lines


STALLED = "stalled or started too often"
"""What is shown, in place of a category, for jobs that the queue gave up (AbandonedError): no handler raised that."""


def _without_stalls(result: Run, summary: Summary) -> dict[str, int]:
    """Attempts with an error by its category, those of stalled jobs by that name."""
    stalled: dict[str, int] = {}
    if AbandonedError.__name__ not in result.attempts["error_type"].cat.categories:
        return summary.errors
    for error in errors_of_result(result):
        if error.error_type == AbandonedError.__name__:
            stalled[error.category] = stalled.get(error.category, 0) + error.count
    kinds = {name: count - stalled.get(name, 0) for name, count in summary.errors.items()}
    kinds = {name: count for name, count in kinds.items() if count}
    return kinds | ({STALLED: sum(stalled.values())} if stalled else {})


def limiter(result: Run) -> str | None:
    """What the rate limiter did; None if there is none."""
    summary = result.summary()
    use = summary.limiter
    if use is None:
        return None
    text = (
        f"limiter, {use.max:,} per {readable(use.duration)}: {use.full:,} of {counted(use.windows, 'window')} used up"
    )
    if not use.time_limited:
        return text
    share = percent(use.time_limited / (summary.end - summary.start))
    return f"{text}; nothing could start for {readable(use.time_limited)} ({share} of the time)"


def checks(result: Run) -> list[CheckLine]:
    """Each check that says something, and a line each for health checks and oracles that passed."""
    frame = result.checks
    # an expected failure has found something, though it passed
    quiet = (frame["kind"] != "threshold") & (frame["status"] == "passed") & ~(frame["value"] > 0)
    listed = frame[~quiet]
    columns = (listed[name].tolist() for name in ("status", "kind", "check", "value", "unit", "limit", "at", "detail"))
    rows = zip(*columns, strict=True)
    lines = [CheckLine(status, shown(_check(status, kind, name, *rest)), name) for status, kind, name, *rest in rows]
    for kind, noun, found in (("health", "health check", "passed"), ("oracle", "oracle", "found no violation")):
        if count := int((quiet & (frame["kind"] == kind)).sum()):
            lines.append(CheckLine("passed", f"{counted(count, noun)} {found}"))
    return lines


def _check(status: str, kind: str, name: str, value: float, unit: str, limit: str, at: float, detail: str) -> str:
    """A check in words: what it is, whether it failed, what was measured, and why."""
    if status == "not judged":
        return f"{name}: {detail}" if kind == "oracle" else f"{name}: not judged: {detail}"
    if kind == "health":
        return f"{name}: {detail}"
    title = f"{name} failed" if status == "failed" else name
    when = "" if math.isnan(at) else f" at {readable(at)}"
    if kind == "invariant":
        return f"{name} ({limit}): {f'violated{when}: {detail}' if status == 'failed' else 'held'}"
    text = measured(value, unit) if unit in COUNTED or math.isnan(value) else f"measured {measured(value, unit)}"
    return f"{title}: {text}{when}{f' ({detail})' if detail else ''}"


def verdict(result: Run) -> str:
    """Whether the run is ok, in a line: what failed, and how many checks were not judged."""
    checks = result.checks
    unjudged = int((checks["status"] == "not judged").sum())
    were = "1 check was" if unjudged == 1 else f"{unjudged} checks were"
    note = f"; {were} not judged" if unjudged else ""
    if result.ok:
        return f"ok{note}"
    failed = [str(name) for name in checks["check"][~checks["ok"]]]
    names = [*failed[:MOST_NAMED], *([f"{len(failed) - MOST_NAMED} more"] if len(failed) > MOST_NAMED else [])]
    reasons = [f"{counted(len(failed), 'check')} failed ({', '.join(names)})"] if failed else []
    reasons += [f"stopped early ({result.facts.stopped})"] if result.facts.stopped else []
    return shown(f"not ok: {'; '.join(reasons)}{note}")


def verdict_status(result: Run) -> str:
    """The status of the whole run: "failed", "not judged" if it is ok as far as it was judged, or "passed"."""
    if not result.ok:
        return "failed"
    return "not judged" if (result.checks["status"] == "not judged").any() else "passed"


def top_errors(result: Run, most: int = MOST_ERRORS) -> list[TopError]:
    """The most frequent errors, without the warm-up's jobs, or those of the warm-up if there are no others."""
    return (errors_of_result(result) or errors_of_result(result, warmup=True))[:most]


def errors(result: Run) -> list[tuple[str, ...]]:
    """A row for each of the top errors; the columns are ERRORS."""
    return [
        (
            f"{error.count:,}",
            f"{error.jobs:,}",
            shown(error.name),
            _kind(error),
            brief(error.first),
            shown(one_line(error.message)),
        )
        for error in top_errors(result)
    ]


def error_lines(result: Run) -> list[str]:
    """The top errors as text, a line each."""
    return [
        f"{error.count:,} × {_kind(error)} in {shown(error.name)} ({counted(error.jobs, 'job')}, first at "
        f"{readable(error.first)}): {shown(one_line(error.message))}"
        for error in top_errors(result)
    ]


def _kind(error: TopError) -> str:
    """The error's type, and its category if it has one."""
    return shown(f"{error.error_type} ({error.category})" if error.category else error.error_type)


def _backlog(summary: Summary) -> str:
    if not summary.backlog_max:
        return "none" if summary.end > summary.start else "–"
    highest = f"at most {summary.backlog_max:,} at {readable(summary.backlog_max_at)}"
    return f"{_number(summary.backlog_mean)} on average; {highest}; {summary.backlog_end:,} at the end"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _and(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
