"""The story of a failing run: what happened to the jobs that show it, in the order of time."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator

from queuesim.results.recording import ENDINGS, Ending, FaultRow, Recording
from queuesim.results.result import Result
from queuesim.runs.trace import Step, Tracer
from queuesim.text import shown
from queuesim.units import format_duration

WITNESSES = 2
"""Jobs whose story is told."""
LINES = 30
"""Lines of a story; what is in the middle is left out."""

Line = tuple[float, str]
"""When, and what."""


def tell(tracer: Tracer) -> list[str]:
    """What happened to the witnesses of a failed run, a line each. The tracer has the run's recording."""
    recording = tracer.recording
    assert recording is not None, "the run is over"
    result = Result(recording)
    witnesses = choose(recording, result)
    spans = [(row["started"], row["ended"]) for _, row in result.attempts.iterrows() if row["job"] in witnesses]
    lines = [*_of_faults(recording.faults, spans)]
    for job in witnesses:
        lines += _of_job(result, tracer.steps, job, named=len(witnesses) > 1)
    # what happens to one job at one moment stays in its order
    told = [
        f"{_moment(time):>10}  {shown(text)}{f'  ({count:,} times)' if count > 1 else ''}"
        for (time, text), count in _repeated(sorted(lines, key=lambda line: line[0]))
    ]
    if len(told) > LINES:
        told[LINES - 10 : -9] = [f"{'':>10}  ({len(told) - LINES + 1} lines left out)"]
    return told


def _repeated(lines: Iterable[Line]) -> Iterator[tuple[Line, int]]:
    """Each line, with how often it comes in a row: a handler may poll at one instant."""
    for line, group in itertools.groupby(lines):
        yield line, sum(1 for _ in group)


def choose(recording: Recording, result: Result) -> list[int]:
    """The numbers of the jobs that show what is wrong: those that messages of failed checks name, or else those whose
    attempts did not simply succeed, or else the first."""
    jobs = result.jobs
    ids = dict(zip(jobs["id"] if "id" in jobs else jobs["job"].astype(str), jobs["job"].tolist(), strict=True))
    named: dict[int, None] = {}
    for check in recording.checks:
        if not check.ok:
            words = re.findall(r"[\w.:-]+", check.detail)
            named |= {ids[word]: None for word in words if word in ids}
    attempts = result.attempts
    odd = dict.fromkeys(attempts[attempts["outcome"] != "ok"]["job"].tolist())
    return list(named or odd or jobs["job"].tolist())[:WITNESSES]


def _of_job(result: Result, steps: Iterable[Step], number: int, *, named: bool) -> Iterator[Line]:
    jobs, attempts = result.jobs, result.attempts
    job = jobs[jobs["job"] == number].iloc[0]
    who = f"job {number}: " if named else ""
    yield job["added"], f"job {number} ({job['name']}) is added"
    for _, attempt in attempts[attempts["job"] == number].iterrows():
        which = int(attempt["attempt"])
        yield attempt["started"], f"{who}attempt {which} starts on {attempt['worker']}"
        for step in steps:
            if (step.number, step.attempt) == (number, which):
                yield step.time, f"{who}  {step.place}  {step.place.code}"
        if not math.isnan(attempt["ended"]):
            yield attempt["ended"], f"{who}attempt {which} {_ending(attempt)}"
    if job["state"] in ("waiting", "delayed", "active", "prioritized"):
        yield result.facts.duration, f"{who}the run ends, and the job is {job['state']}"


def _ending(attempt: object) -> str:
    row: dict[str, object] = dict(attempt)  # type: ignore[call-overload]
    outcome, message = str(row["outcome"]), str(row["message"])
    error = f": {row['error']}: {message}" if row.get("error") else f": {message}" if message else ""
    words = {
        ENDINGS[Ending.OK]: "completes",
        ENDINGS[Ending.RETRIED]: f"fails, to be retried{error}",
        ENDINGS[Ending.FAILED]: f"fails for good{error}",
        ENDINGS[Ending.LOST]: "ends with its lock lost, or dies with its worker",
        ENDINGS[Ending.DELAYED]: "puts the job off",
        ENDINGS[Ending.RATE_LIMITED]: "gives the job back: rate limit",
    }
    return words.get(outcome, outcome)


def _of_faults(faults: Iterable[FaultRow], spans: list[tuple[float, float]]) -> Iterator[Line]:
    """The faults that were on while a witness ran."""
    for fault in faults:
        ended = math.inf if math.isnan(fault.ended) else fault.ended
        if any(began <= ended and not until < fault.began for began, until in spans):
            target = f" of {fault.target}" if fault.target else ""
            detail = f" ({fault.detail})" if fault.detail else ""
            yield fault.began, f"fault {fault.kind}{target} begins{detail}"
            if not math.isinf(ended) and ended > fault.began:
                yield ended, f"fault {fault.kind}{target} ends"


def _moment(seconds: float) -> str:
    return format_duration(round(seconds, 3))


def first_difference(one: Recording, other: Recording) -> str | None:
    """In what two runs of one scenario differ first, in words; None if they are the same."""
    for name in ("events", "attempts", "jobs"):
        rows, others = getattr(one, name), getattr(other, name)
        for i, (row, another) in enumerate(zip(rows.tolist(), others.tolist(), strict=False)):
            if repr(row) != repr(another):
                fields = rows.dtype.names or ()
                apart = [
                    f"{field} {value!r} and {second!r}"
                    for field, value, second in zip(fields, row, another, strict=True)
                    if repr(value) != repr(second)
                ]
                at = "" if name != "events" else f" at {_moment(min(row[0], another[0]))}"
                return f"row {i + 1} of {name}{at}: {', '.join(apart)}"
        if len(rows) != len(others):
            return f"{len(rows)} and {len(others)} rows of {name}"
    return None


CAUSES = (
    "random without a stream of its own (use random.Random(job.id)), uuid4, time.time and datetime.now, the order of "
    "sets and of hash() of text, threads, and state that outlives a run"
)
"""What makes handlers differ from run to run, as a rule."""
