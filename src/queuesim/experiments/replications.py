"""Replications: independent runs of one scenario, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from queuesim.experiments.cache import RunCache, cache_in
from queuesim.experiments.estimates import Estimates, in_percent
from queuesim.experiments.executor import Executor, Given, executor_for, play_all
from queuesim.experiments.figures import STANDARD, WARMUP, check_figure
from queuesim.experiments.interval import Bounds, share_bounds
from queuesim.experiments.precision import FEWEST, MOST, Precision, Width, first_reached, precisions
from queuesim.experiments.stability import AFFECTED, growth, why_unstable
from queuesim.experiments.task import RUN, Measured, Playing, result_of, scenario_to_play, seeds_of, tasks_of
from queuesim.experiments.warmup import PILOTS, longest
from queuesim.extras import need
from queuesim.runs.effort import effort, refuse_many
from queuesim.runs.invariants import Given as Invariants
from queuesim.scenario.loading import Source, vary
from queuesim.scenario.processors import ProcessorFactory
from queuesim.scenario.processors import Source as ProcessorSource
from queuesim.scenario.thresholds import dotted
from queuesim.text import counted, percent, readable, shown
from queuesim.units import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from queuesim.results.result import Result
    from queuesim.scenario.model import Scenario

RUNS = 10
"""Runs that are played unless another number is given."""
MSER5 = "mser-5"
"""The rule that finds the warm-up."""


class Options(TypedDict, total=False):
    """How runs are played: options that mean the same as those of `queuesim.run`."""

    processor: ProcessorSource | ProcessorFactory | None
    shared: Callable[[], Any] | str | None
    invariants: Invariants
    backend: str
    shuffle: bool
    handler_limit: float
    allow_io: Sequence[str]
    no_limit: bool


def playing_of(options: Options) -> Playing:
    """The options of runs, checked. Raises BackendError."""
    given: dict[str, Any] = {**options, "allow_io": tuple(options.get("allow_io", ()))}
    return Playing(**given)


def replicate(
    scenario: Source,
    n: int | None = None,
    *,
    measured: Sequence[str] = STANDARD,
    until: Mapping[str, Width] | None = None,
    warmup: str | float | None = None,
    confidence: float = 0.95,
    may_fail: float = 0.0,
    seed: int | None = None,
    executor: Given = None,
    cache: str | Path | None = None,
    keep: str | Path | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
    **options: Unpack[Options],
) -> Replications:
    """Play independent runs of a scenario, and estimate every figure with an interval.

    The seeds of the runs are children of the scenario's (numpy's SeedSequence.spawn): the first k of n + m runs are the
    same as those of n, on any executor.

    Args:
        scenario: as `queuesim.run` takes it.
        n: how many runs; 10 unless given. With `until`, the most.
        measured: figures to measure: metrics as thresholds name them, ``latency.p95``, and ``drained``, when the
            backlog was gone. Without it, those of a summary.
        until: half widths at which to stop: ``{"waiting.p95": "5%"}``, of the mean, or ``{"waiting.p95": "200ms"}``.
            After each run from the 10th on, in the order of the seeds, the intervals are looked at.
        warmup: the time that is left out at the start of each run: "10m", or seconds; None for the scenario's.
            "mser-5": the longest one that the rule MSER-5 finds in the first 5 runs, which are then played again.
        confidence: of all intervals.
        may_fail: the share of runs in which thresholds may fail. 0: none may.
        seed: in place of the scenario's.
        executor: where to play: None for this process, a number of processes, or an `Executor`.
        cache: directory of a `RunCache`: runs that it knows are not played again.
        keep: directory to write each run's whole result to, as Parquet, below the number of its seed.
        progress: called with the runs done and how many there are; True for a bar, None for one in a notebook.
        options: `processor`, `shared`, `invariants`, `backend`, `shuffle`, `handler_limit`, `allow_io`, `no_limit`, as
            `queuesim.run` takes them.

    Raises:
        ValueError: there is no such figure, or a number is out of its range.
        WarmupError: MSER-5 finds no end of the warm-up.
        SendError: own code can't be sent to the executor's processes.
        WorkerDiedError: a run killed the process that played it again and again.
        CacheError: the cache can't be used.
        TooLargeError: the runs would take more than a day, at least.
        MissingExtraError: scipy is not installed.
        KeyboardInterrupt: Ctrl-C. What was played until then is in the cache.
        What `queuesim.run` raises otherwise.
    """
    from queuesim.results.views.progress import count_bar

    need("scipy", "analysis", "confidence intervals")
    wanted = precisions(until)
    most = (MOST if wanted else RUNS) if n is None else n
    _check(most, confidence, may_fail, measured)
    playing = playing_of(options)
    chosen = scenario_to_play(scenario, playing)
    if not playing.no_limit and not wanted:
        refuse_many(most, RUN + effort(chosen).seconds, "runs")
    names = tuple(dict.fromkeys([*measured, *(each.figure for each in wanted)]))
    bar = count_bar(most, chosen.name, progress)
    with executor_for(executor) as where, cache_in(cache) as stored, bar as report:
        rule = "as in the scenario"
        if warmup is not None:
            chosen, rule = _with_warmup(chosen, warmup, seed, playing, where, stored)
        experiment = _Experiment(chosen, seed, names, playing, where, stored, keep, report, most)
        outcomes = experiment.play_until(wanted, confidence) if wanted else experiment.play(most)
    runs = len(outcomes)
    reached = first_reached(wanted, _columns(outcomes, names), runs, confidence, FEWEST) if wanted else None
    return Replications(
        chosen,
        experiment.seeds(runs),
        outcomes,
        confidence=confidence,
        may_fail=may_fail,
        playing=playing,
        warmup_rule=rule,
        wanted=wanted,
        reached=reached is not None,
    )


def _check(n: int, confidence: float, may_fail: float, measured: Sequence[str]) -> None:
    if n < 1:
        raise ValueError(f"n must be 1 run or more, not {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, not {confidence}")
    if not 0 <= may_fail < 1:
        raise ValueError(f"may_fail must be 0 or more and below 1, not {may_fail}")
    for name in measured:
        check_figure(name)


@dataclass(slots=True)
class _Experiment:
    """Runs of one scenario that are played in the order of their seeds."""

    scenario: Scenario
    seed: int | None
    names: tuple[str, ...]
    playing: Playing
    executor: Executor
    cache: RunCache | None
    keep: str | Path | None
    report: Callable[[int, int], None] | None
    most: int

    def seeds(self, count: int) -> list[int]:
        return seeds_of(self.scenario.seed if self.seed is None else self.seed, count)

    def play(self, count: int, after: int = 0) -> list[Measured]:
        """The runs of these places."""
        seeds, report = self.seeds(after + count)[after:], self.report
        runs = self.most / self.executor.count
        tasks = tasks_of(self.scenario, seeds, self.names, self.playing, runs=runs, keep=self.keep)
        tell = None if report is None else lambda done: report(after + done, self.most)
        return play_all(tasks, self.executor, self.cache, tell)

    def play_until(self, wanted: Sequence[Precision], confidence: float) -> list[Measured]:
        """As many runs as it takes until all precisions are reached, or the most."""
        outcomes = self.play(min(FEWEST, self.most))
        looked = 0
        while True:
            values = _columns(outcomes, [each.figure for each in wanted])
            found = first_reached(wanted, values, len(outcomes), confidence, max(FEWEST, looked + 1))
            if found is not None:
                # the others were played at the same time
                return outcomes[:found]
            if len(outcomes) >= self.most:
                return outcomes
            looked = len(outcomes)
            outcomes += self.play(min(self.executor.count, self.most - looked), looked)


def _columns(outcomes: Sequence[Measured], names: Sequence[str]) -> dict[str, list[float]]:
    return {name: [each.figures[name] for each in outcomes] for name in names}


def _with_warmup(
    scenario: Scenario,
    warmup: str | float,
    seed: int | None,
    playing: Playing,
    executor: Executor,
    cache: RunCache | None,
) -> tuple[Scenario, str]:
    """The scenario with another warm-up, and how it came to it."""
    if warmup == MSER5:
        pilots = _Experiment(scenario, seed, (WARMUP,), playing, executor, cache, None, None, PILOTS).play(PILOTS)
        seconds = longest([each.figures[WARMUP] for each in pilots], scenario.duration)
        return vary(scenario, {"warmup": seconds}), f"MSER-5, the longest of {PILOTS} runs"
    if isinstance(warmup, str):
        try:
            seconds = parse_duration(warmup)
        except ValueError:
            raise ValueError(f'"{warmup}" is not a warm-up: write a time, as 10m, or {MSER5} to find it') from None
    else:
        seconds = float(warmup)
    if not 0 <= seconds < scenario.duration:
        raise ValueError(f"a warm-up of {seconds:g} s leaves nothing of a run of {readable(scenario.duration)}")
    return vary(scenario, {"warmup": seconds}), "as asked for"


# -- What the runs say together


@dataclass(frozen=True, slots=True)
class CheckOverRuns:
    """How a check came out over all runs."""

    name: str
    kind: str
    """See `CheckRow.kind`."""
    status: str
    """See STATUSES."""
    runs: int
    failed: int
    """In how many runs."""
    not_judged: int
    """In how many runs."""
    share: float
    """Of the runs in which it was judged, those in which it failed."""
    low: float
    """Bounds of the probability that a run fails it."""
    high: float
    detail: str
    """Of the first run in which it failed."""

    def __str__(self) -> str:
        text = f"{self.name}: failed in {self.failed} of {counted(self.runs, 'run')}"
        if self.kind == "threshold" and self.not_judged < self.runs:
            text += f" ({percent(self.low)} to {percent(self.high)} of all runs)"
        if self.not_judged:
            text += f", not judged in {self.not_judged}"
        return text + (f"; {self.detail}" if self.detail else "")


class Replications(Estimates):
    """Independent runs of one scenario: estimates of figures, and how the checks came out over the runs."""

    def __init__(
        self,
        scenario: Scenario,
        seeds: Sequence[int],
        outcomes: Sequence[Measured],
        *,
        confidence: float = 0.95,
        may_fail: float = 0.0,
        playing: Playing | None = None,
        warmup_rule: str = "as in the scenario",
        wanted: Sequence[Precision] = (),
        reached: bool = False,
    ) -> None:
        self.scenario = scenario
        """What was played."""
        self.seeds = list(seeds)
        """The seed of each run."""
        self.outcomes = list(outcomes)
        """What each run measured."""
        self.may_fail = may_fail
        self.warmup_rule = warmup_rule
        """How the warm-up was found."""
        self._playing = Playing() if playing is None else playing
        self._wanted, self._reached = list(wanted), reached
        self.unstable = why_unstable(scenario, self._playing, self.outcomes)
        """Why the scenario has no steady state; "" if nothing speaks against one."""
        self.growing = growth(self.outcomes, scenario.warmup, scenario.duration)
        """That the backlog grew in all of the measured time; "" if it did not."""
        values = pd.DataFrame([each.figures for each in outcomes])
        withheld = {
            name: self.unstable for name in values.columns if self.unstable and name.partition(".")[0] in AFFECTED
        }
        super().__init__(values, confidence, withheld)

    @property
    def runs(self) -> pd.DataFrame:
        """A row a run: seed, one column for each figure, ok, jobs, stopped (why it ended early; "" if it did not)."""
        frame = self._values.copy()
        frame.insert(0, "seed", np.array(self.seeds, dtype=np.int64))
        for name in ("ok", "jobs", "stopped"):
            frame[name] = [getattr(each, name) for each in self.outcomes]
        return frame

    @cached_property
    def judged(self) -> list[CheckOverRuns]:
        """How the checks came out over the runs: all thresholds and invariants, and each other check that did not pass
        in all runs."""
        names = dict.fromkeys((check.name, check.kind) for each in self.outcomes for check in each.checks)
        return [self._judged(name, kind) for name, kind in names]

    def _judged(self, name: str, kind: str) -> CheckOverRuns:
        failed, unjudged, detail = 0, 0, ""
        for seed, outcome in zip(self.seeds, self.outcomes, strict=True):
            found = next((check for check in outcome.checks if (check.name, check.kind) == (name, kind)), None)
            if found is not None and found.status == "failed":
                failed += 1
                detail = detail or f"seed {seed}: {found.detail}".removesuffix(": ")
            unjudged += found is not None and found.status == "not judged"
        # a run in which it can't be judged says nothing of how often it fails
        runs = len(self.outcomes)
        share = share_bounds(failed, max(runs - unjudged, 1), confidence=self.confidence)
        status = self._status(kind, failed, unjudged == runs, share)
        return CheckOverRuns(name, kind, status, runs, failed, unjudged, share.estimate, share.low, share.high, detail)

    def _status(self, kind: str, failed: int, unjudged: bool, share: Bounds) -> str:
        if unjudged:
            return "not judged"
        if kind != "threshold" or not self.may_fail:
            return "failed" if failed else "passed"
        if share.low > self.may_fail:
            return "failed"
        return "passed" if share.high <= self.may_fail else "not judged"

    @property
    def checks(self) -> pd.DataFrame:
        """`judged` as a frame: name, kind, status, runs, failed, not_judged, share, low, high, detail."""
        names = [field.name for field in fields(CheckOverRuns)]
        return pd.DataFrame([astuple(each) for each in self.judged], columns=names)

    @property
    def stuck(self) -> int:
        """How many runs could not go on, though no check of theirs failed."""
        failing = [any(check.status == "failed" for check in each.checks) for each in self.outcomes]
        return sum(not each.ok and not fails for each, fails in zip(self.outcomes, failing, strict=True))

    @property
    def undecided(self) -> list[str]:
        """Thresholds that more runs must decide: whether they fail in more of them than `may_fail`."""
        return [
            each.name
            for each in self.judged
            if each.kind == "threshold" and each.status == "not judged" and each.not_judged < each.runs
        ]

    @property
    def status(self) -> str:
        """What all runs come to: "failed", "not judged" or "passed".

        Thresholds are judged over the runs. Without `may_fail` one fails if it failed in any run. With it, one fails if
        it does so in a larger share of runs, by the lower bound of that share, and passes by the upper one; between
        them it is undecided. Any other check fails if it failed in any run, and so does a run that could not go on.
        """
        if self.stuck or any(each.status == "failed" for each in self.judged):
            return "failed"
        return "not judged" if self.undecided else "passed"

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and nothing that decides is undecided."""
        return self.status == "passed"

    def result(self, seed: int) -> Result:
        """The whole result of one of the runs, which is played again: a seed gives the same run.

        Raises:
            ValueError: no run has this seed.
        """
        if seed not in self.seeds:
            raise ValueError(f"no run has the seed {seed}; the first has {self.seeds[0]}")
        return result_of(tasks_of(self.scenario, [seed], (), self._playing)[0])

    # -- views

    @property
    def verdict(self) -> str:
        """A sentence: whether all is well, in how many runs."""
        runs = counted(len(self.outcomes), "run")
        name = shown(self.scenario.name)
        if self.stuck:
            return f"failed: {self.stuck} of {runs} of {name} could not go on"
        failing = [each for each in self.judged if each.status == "failed"]
        if failing:
            more = f", and {counted(len(failing) - 1, 'more check')}" if len(failing) > 1 else ""
            return f"failed: {shown(failing[0].name)} failed in {failing[0].failed} of {runs} of {name}{more}"
        if self.undecided:
            return (
                f"undecided: {runs} of {name} are too few to say whether {shown(self.undecided[0])} fails in at most "
                f"{percent(self.may_fail)} of them"
            )
        return f"ok: {runs} of {name}"

    @property
    def notes(self) -> list[str]:
        """What must be known of the estimates, a sentence each."""
        scenario, confidence = self.scenario, in_percent(self.confidence)
        found = []
        if len(self.outcomes) == 1:
            found.append("one run alone has no interval: play 2 or more")
        if self.unstable:
            found.append(
                f"no steady state: {self.unstable}; {', '.join(AFFECTED[:-1])} and {AFFECTED[-1]} grow with the "
                "length of the run, so they have no interval"
            )
        elif self.growing:
            found.append(f"{self.growing}: the figures are those of runs of {readable(scenario.duration)}")
        warmup = f"a warm-up of {readable(scenario.warmup)}, {self.warmup_rule}" if scenario.warmup else "no warm-up"
        found.append(f"{warmup}; {confidence} t-intervals of the means over runs")
        if self._wanted:
            wanted = ", ".join(map(str, self._wanted))
            many = counted(len(self.outcomes), "run")
            found.append(f"{wanted}: {'reached' if self._reached else 'NOT reached'} with {many}")
        return found

    def lines(self) -> list[tuple[str, str]]:
        """The checks in words, each with its status."""
        return [(each.status, str(each)) for each in self.judged]

    def render(self, console: Console) -> None:
        """Print the verdict, the estimates and the checks."""
        from queuesim.results.views.terminal import print_line, print_marked

        print_marked(console, self.status, self.verdict)
        for note in self.notes:
            print_line(console, shown(note), style="dim")
        console.print()
        console.print(self.table(console))
        if self.nothing:
            print_line(console, self.nothing, style="dim")
        if lines := self.lines():
            console.print()
        for status, text in lines:
            print_marked(console, status, shown(text), wide=True)

    def __repr__(self) -> str:
        return f"<Replications {self.verdict}>"

    def _repr_html_(self) -> str:
        from queuesim.results.markup import fill

        return fill(
            "experiment.html",
            status=self.status,
            verdict=self.verdict,
            notes=self.notes,
            head=self.heads,
            rows=self.rows(),
            nothing=self.nothing,
            checks=self.lines(),
        )

    def as_json(self) -> dict[str, Any]:
        """Verdict, notes, estimates, checks and runs as plain values; what is not known is None."""
        return {
            "ok": self.ok,
            "status": self.status,
            "verdict": self.verdict,
            "scenario": self.scenario.name,
            "confidence": self.confidence,
            "warmup": self.scenario.warmup,
            "notes": self.notes,
            "unstable": self.unstable,
            "figures": self.frame.to_dict(orient="records"),
            "checks": self.checks.to_dict(orient="records"),
            "runs": self.runs.to_dict(orient="records"),
        }

    def _limits(self, name: str) -> tuple[float, ...]:
        asked = [each for each in self.scenario.thresholds if not each.where.chosen() and each.over is None]
        return tuple(each.limit for each in asked if dotted(each.metric, each.statistic) == name)

    def to_parquet(self, directory: str | Path) -> None:
        """Write the frames `figures`, `runs` and `checks` into a directory, a Parquet file each.

        Raises:
            MissingExtraError: pyarrow is not installed.
            OSError: the directory can't be written.
        """
        need("pyarrow", "parquet", "Parquet files")
        place = Path(directory)
        place.mkdir(parents=True, exist_ok=True)
        for name, frame in (("figures", self.frame), ("runs", self.runs), ("checks", self.checks)):
            frame.to_parquet(place / f"{name}.parquet", index=False)
