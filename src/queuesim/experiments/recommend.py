"""Recommendations: the least value, or the cheapest combination of values, that meets thresholds or a deadline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from queuesim.experiments.axes import Axes, AxisError
from queuesim.experiments.cache import RunCache, cache_in
from queuesim.experiments.estimates import in_percent
from queuesim.experiments.executor import Executor, Given, executor_for, play_all
from queuesim.experiments.frontier import Array, Frontier, Place, below, costs_of
from queuesim.experiments.interval import paired
from queuesim.experiments.replications import Options, playing_of
from queuesim.experiments.requirement import (
    HEALTHY,
    ORDERED,
    Judged,
    Requirement,
    Verdict,
    parse_deadline,
    share_text,
    thresholds_of,
)
from queuesim.experiments.task import RUN, Measured, Playing, scenario_to_play, seeds_of, tasks_of
from queuesim.experiments.thumb import Rule, rules
from queuesim.extras import need
from queuesim.runs.effort import refuse_many, refuse_too_large
from queuesim.scenario.loading import Source, value_at, vary
from queuesim.text import counted, shown, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from queuesim.scenario.model import Scenario

RUNS = 20
"""Runs of each combination unless another number is given."""
FIRST = 5
"""Runs after which a clear case is decided."""
CLEAR = 0.999
"""Confidence with which it is."""
TOP = 1000
"""The largest value that is tried of a parameter without values of its own."""
MOST_COMBINATIONS = 100_000
MOST_SCANNED = 100
"""Combinations that are tried one after the other where more is not always better."""
MATERIAL = 0.02
"""A requirement gets worse only if it does so by more than this part of its limit."""


def recommend(
    scenario: Source,
    parameters: str | Mapping[str, Sequence[Any]],
    *,
    require: Sequence[Any] = (),
    by: str | None = None,
    cost: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    share: float | None = None,
    largest: bool = False,
    replications: int = RUNS,
    seed: int | None = None,
    executor: Given = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
    **options: Unpack[Options],
) -> Recommendation:
    """Find the least value of a parameter, or the cheapest combination of several, that meets what is required.

    How it searches: all combinations are played with the same seeds (common random numbers). More of a parameter is
    taken to be better, which is checked on everything that is played; so a combination that misses rules out all with
    no more of anything, and one that meets rules out all that cost as much or more. The next combination is the one
    that halves what is left (bisection; with several parameters branch and bound), beginning where a rule of thumb
    points. Where more turns out to be worse, all cheaper combinations are tried in the order of their costs.

    How sure it is: a limit of the order (``<``, ``>=``) is met if the one-sided t bound of the mean over the
    replications is on its right side, at the confidence that is asked for. Everything else (``lost == 0``, a deadline,
    oracles) must hold in every run that was played. A combination that these runs can't decide does not meet. All
    requirements must be met, each at the same confidence: an intersection-union test, which needs no correction. With
    common seeds the verdicts on combinations are ordered as the combinations are, so that the answer is too cheap only
    if the verdict on the dearest combination that does not meet is wrong: its probability is at most 1 - confidence,
    plus 0.001 for each combination that is given up after 5 runs because it clearly misses. In a trial of combinations
    one after the other verdicts are not ordered, and 1 - confidence is divided by their number.

    Sources: Law, Simulation Modeling and Analysis, sections 10.2 and 11.2 (common random numbers); Berger,
    Technometrics 24 (1982) (intersection-union tests).

    Args:
        scenario: as `queuesim.run` takes it.
        parameters: a path of the scenario, as `vary` takes it, whose value is a whole number: all from 1 to 1000 come
            into question; or paths with the values that do. If the values of the only path are not numbers, the first
            is the cheapest.
        require: thresholds, in place of those of the scenario: ``["waiting.p95 < 30s", "lost == 0"]``.
        by: a deadline by which the backlog must be gone: "09:00" by the calendar of the scenario's epoch, or "3h" after
            the run's beginning. Then the scenario's own thresholds do not count unless they are required, too.
        cost: of each path, what one more costs. Needed with several paths; of one, to have costs in the answer.
        confidence: of the answer.
        share: in place of means, require that every threshold holds in at least this share of runs, 0.9: see
            `queuesim.experiments.requirement.Requirement`.
        largest: find the largest value of a parameter in place of the least: of ``load``, how much more load is borne.
        replications: runs of each combination that is not decided clearly before.
        seed, executor, cache, progress: as `queuesim.replicate` takes them.
        options: `processor`, `shared`, `invariants`, `backend`, `shuffle`, `handler_limit`, `allow_io`, `no_limit`, as
            `queuesim.run` takes them.

    Raises:
        ValueError: nothing is required, a path, value, cost or threshold is wrong, or a number is out of its range.
        TooLargeError: a run would take more than a day or 64 GB of memory, at least.
        MissingExtraError: scipy is not installed.
        What `queuesim.replicate` raises otherwise.
    """
    need("scipy", "analysis", "recommendations")
    playing = playing_of(options)
    chosen = scenario_to_play(scenario, playing)
    _check(confidence, share, replications)
    thresholds = [] if by is not None and not require else thresholds_of(chosen, require)
    deadline = None if by is None else parse_deadline(by, chosen)
    requirements = [Requirement.of(each) for each in thresholds]
    if by is not None and deadline is not None:
        requirements.append(Requirement.drained_by(deadline, by))
    if not requirements:
        raise ValueError('nothing is required: the scenario has no thresholds; require one, as "waiting.p95 < 30s"')
    axes = _axes(chosen, parameters, largest=largest)
    if largest and (len(axes.values) > 1 or cost is not None):
        raise AxisError("the largest value is that of one parameter, without a cost")
    costs = _costs(axes, cost, largest=largest)
    axes.check(chosen)
    # what is required is judged as the scenario's own thresholds are
    asked = vary(chosen, {"thresholds": [each for each in thresholds]})  # noqa: C416
    own = playing.prototype(asked)
    thumb = rules(asked, own, axes, costs, thresholds, deadline)
    if not playing.no_limit:
        refuse_many(replications, RUN, "runs")
    seeds = seeds_of(chosen.seed if seed is None else seed, replications)
    search = _Search(asked, axes, costs, [*requirements, HEALTHY], seeds, confidence, share, playing)
    search.play_from(thumb, executor, cache, progress)
    return search.recommendation(thumb, cost, largest=largest)


def _check(confidence: float, share: float | None, replications: int) -> None:
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence must be above 0.5 and below 1, not {confidence}")
    if share is not None and not 0 < share < 1:
        raise ValueError(f"share must be above 0 and below 1, not {share}")
    if replications < 2:
        raise ValueError(f"replications must be 2 or more, not {replications}")
    if share is not None and share**replications > 1 - confidence:
        least = math.ceil(math.log(1 - confidence) / math.log(share))
        raise ValueError(
            f"{replications} replications can't show that something holds {share_text(share)}, even if it holds in "
            f"each: {least} are needed"
        )


def _axes(scenario: Scenario, parameters: str | Mapping[str, Sequence[Any]], *, largest: bool) -> Axes:
    """The values that come into question, the best liked first. Raises AxisError."""
    if isinstance(parameters, str):
        parameters = {parameters: _whole_numbers(scenario, parameters)}
    axes = Axes.of(parameters)
    if not axes.values:
        raise AxisError("no parameter is given: write 'workers.count'")
    if len(axes) > MOST_COMBINATIONS:
        raise AxisError(f"there are {len(axes):,} combinations; the most are {MOST_COMBINATIONS:,}")
    numeric = {path: all(map(_is_number, values)) for path, values in axes.values.items()}
    if largest and not all(numeric.values()):
        raise AxisError("the largest of values that are no numbers is unknown")
    ordered = {path: sorted(each, reverse=largest) if numeric[path] else each for path, each in axes.values.items()}
    return Axes.of(ordered)


def _whole_numbers(scenario: Scenario, path: str) -> range:
    try:
        value = value_at(scenario, path)
    except ValueError as error:
        raise AxisError(str(error)) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise AxisError(f"{path} is not a whole number: say which values come into question")
    return range(1, TOP + 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _costs(axes: Axes, cost: Mapping[str, float] | None, *, largest: bool) -> Array:
    """The cost of each combination; without costs, the order in which values are liked. Raises AxisError."""
    paths = list(axes.values)
    for path, each in (cost or {}).items():
        if path not in axes.values:
            raise AxisError(f"cost: {unknown('parameter', path, paths, 'parameters')}")
        if not (_is_number(each) and each > 0 and math.isfinite(each)):
            raise AxisError(f"the cost of {path} must be a number above 0, not {each}")
        if not all(map(_is_number, axes.values[path])):
            raise AxisError(f"{path} has values that are no numbers, and so no cost for one more")
    if missing := [path for path in paths if cost is not None and path not in cost]:
        raise AxisError(f"the cost of {missing[0]} is missing")
    if len(paths) > 1 and cost is None:
        example = ", ".join(f'"{path}": ...' for path in paths)
        raise AxisError(f"several parameters need costs, to say which combination is the cheapest: {{{example}}}")
    if cost is None:
        values = axes.values[paths[0]]
        plain = all(map(_is_number, values)) and values[0] > 0 and not largest
        ordered = values if plain else range(1, len(values) + 1)
        return costs_of([ordered], [1.0])
    return costs_of([axes.values[path] for path in paths], [cost[path] for path in paths])


# -- The search


@dataclass(slots=True)
class Candidate:
    """A combination that was played."""

    place: Place
    values: dict[str, Any]
    cost: float
    outcomes: list[Measured] = field(default_factory=list)
    """What its runs measured, in the order of the seeds."""
    judged: list[Judged] = field(default_factory=list)
    """Each requirement, by the runs so far."""
    met: bool = False

    @property
    def worst(self) -> Judged:
        """The requirement that is missed by the most; if none is missed, that has the least to spare."""
        missed = [each for each in self.judged if each.verdict is not Verdict.MET]
        return max(missed or [each for each in self.judged if not each.requirement.others], key=lambda each: each.miss)

    @property
    def name(self) -> str:
        """``workers.count 7``"""
        return ", ".join(f"{path} {value}" for path, value in self.values.items())


@dataclass(slots=True)
class _Search:
    """Plays combinations until the cheapest that meets is known."""

    scenario: Scenario
    axes: Axes
    costs: Array
    requirements: list[Requirement]
    seeds: list[int]
    confidence: float
    share: float | None
    playing: Playing
    candidates: dict[Place, Candidate] = field(default_factory=dict)
    worse: str = ""
    """Where more turned out to be worse."""
    scanned: bool = False
    cut_short: bool = False
    """Whether there were too many combinations to try them all one after the other."""
    runs: int = 0
    _executor: Executor | None = None
    _cache: RunCache | None = None
    _report: Callable[[int, int], None] | None = None

    def play_from(
        self,
        thumb: Sequence[Rule],
        executor: Given,
        cache: str | Path | None,
        progress: Callable[[int, int], None] | bool | None,
    ) -> None:
        """Find the answer, beginning where the last rule of thumb that has one points."""
        from queuesim.results.views.progress import count_bar

        guess = next((rule.place for rule in reversed(thumb) if rule.place is not None), None)
        hopeless = bool(thumb) and guess is None
        bar = count_bar(self._expected, self.scenario.name, progress)
        with executor_for(executor) as where, cache_in(cache) as stored, bar as report:
            self._executor, self._cache, self._report = where, stored, report
            if hopeless:
                # if the dearest misses, nothing meets
                self._try(tuple(size - 1 for size in self.costs.shape))
            self._bisect(guess)

    @property
    def _expected(self) -> int:
        """About how many runs it takes."""
        return len(self.seeds) * (2 + math.ceil(math.log2(self.costs.size + 1)))

    def _bisect(self, guess: Place | None) -> None:
        frontier = self._frontier(guess)
        while True:
            place = frontier.next()
            if place is None:
                if frontier.best is None or self._complete(self.candidates[frontier.best]):
                    return
                # it was decided too early that it meets
                frontier = self._frontier(guess)
                continue
            candidate = self._try(place)
            self.worse = self._where_worse()
            if self.worse:
                self._scan()
                return
            (frontier.good if candidate.met else frontier.bad)(place)

    def _frontier(self, guess: Place | None) -> Frontier:
        """What is known by all verdicts so far."""
        frontier = Frontier.of(self.costs, guess)
        for place, candidate in self.candidates.items():
            (frontier.good if candidate.met else frontier.bad)(place)
        return frontier

    def _scan(self) -> None:
        """Try all that cost less than the cheapest that meets, one after the other."""
        self.scanned = True
        best = min((each for each in self.candidates.values() if each.met), key=lambda each: each.cost, default=None)
        frontier = Frontier.of(self.costs)
        places = list(frontier.cheaper(None if best is None else best.place))
        places += [] if best is None else [best.place]
        confidence = 1 - (1 - self.confidence) / len(places)
        for tried, place in enumerate(places):
            if tried == MOST_SCANNED:
                self.cut_short = True
                return
            candidate = self._try(place, confidence)
            if candidate.met and self._complete(candidate, confidence):
                return

    def _try(self, place: Place, confidence: float | None = None) -> Candidate:
        """Play a combination, with few runs if these are clear."""
        if place not in self.candidates:
            values = {path: each[step] for (path, each), step in zip(self.axes.values.items(), place, strict=True)}
            self.candidates[place] = Candidate(place, values, float(self.costs[place]))
        candidate = self.candidates[place]
        self._play(candidate, min(FIRST, len(self.seeds)))
        judged = self._judge(candidate, max(CLEAR, confidence or 0))
        if any(each.verdict is Verdict.MISSED for each in judged):
            candidate.judged, candidate.met = judged, False
        elif all(each.verdict is Verdict.MET for each in judged):
            candidate.judged, candidate.met = judged, True
        else:
            self._complete(candidate, confidence)
        return candidate

    def _complete(self, candidate: Candidate, confidence: float | None = None) -> bool:
        """Play all runs of a combination. Returns whether it meets."""
        self._play(candidate, len(self.seeds))
        candidate.judged = self._judge(candidate, confidence or self.confidence)
        candidate.met = all(each.verdict is Verdict.MET for each in candidate.judged)
        return candidate.met

    def _judge(self, candidate: Candidate, confidence: float) -> list[Judged]:
        found = []
        for each in self.requirements:
            # a violation is one however rare it is
            share = None if each.others else self.share
            found.append(each.judge(candidate.outcomes, confidence, share))
        return found

    def _play(self, candidate: Candidate, count: int) -> None:
        """Play the runs of a combination that are missing, up to a number of runs."""
        done = len(candidate.outcomes)
        if count <= done:
            return
        assert self._executor is not None
        try:
            varied = vary(self.scenario, candidate.values)
        except (ValueError, TypeError) as error:
            raise AxisError(f"{candidate.name}: {error}") from None
        if not self.playing.no_limit:
            refuse_too_large(varied)
        figures = [each.figure for each in self.requirements if each.figure is not None]
        runs = self._expected / self._executor.count
        tasks = tasks_of(varied, self.seeds[done:count], figures, self.playing, runs=runs)
        before, report = self.runs, self._report
        tell = None if report is None else lambda done: report(before + done, max(self._expected, before + done))
        candidate.outcomes += play_all(tasks, self._executor, self._cache, tell)
        self.runs += len(tasks)

    def _where_worse(self) -> str:
        """Two combinations of which the one with more is worse, in words; "" if there are none."""
        played = list(self.candidates.values())
        for less in played:
            for more in played:
                if not below(less.place, more.place):
                    continue
                if less.met and not more.met:
                    return f"{more.name} does not meet what {less.name} does: {more.worst}"
                for requirement in self.requirements:
                    if _worsens(requirement, less.outcomes, more.outcomes):
                        return f"{requirement.text} gets worse from {less.name} to {more.name}"
        return ""

    # -- the answer

    def recommendation(
        self, thumb: Sequence[Rule], cost: Mapping[str, float] | None, *, largest: bool
    ) -> Recommendation:
        """What was found."""
        frontier = Frontier.of(self.costs)
        ordered = [self.candidates[place] for place in frontier.cheaper(None) if place in self.candidates]
        answer = next((each for each in ordered if each.met), None)
        if answer is not None and self.cut_short:
            answer = answer if len(answer.outcomes) == len(self.seeds) else None
        cheaper = [each for each in ordered if not each.met and (answer is None or each.cost < answer.cost)]
        nearest = min(cheaper, key=lambda each: each.worst.miss, default=None)
        dearer = None if answer is None else frontier.step_up(answer.place)
        return Recommendation(
            scenario=self.scenario if answer is None else vary(self.scenario, answer.values),
            answer=answer,
            cheaper=nearest if answer is not None else None,
            nearest=nearest if answer is None else None,
            dearer=None if dearer is None else (self._values(dearer), float(self.costs[dearer])),
            candidates=ordered,
            rules=[(rule.text, None if rule.place is None else self._values(rule.place)) for rule in thumb],
            confidence=self.confidence,
            share=self.share,
            replications=len(self.seeds),
            combinations=self.costs.size,
            runs=self.runs,
            worse=self.worse,
            cut_short=self.cut_short,
            with_costs=cost is not None,
            largest=largest,
        )

    def _values(self, place: Place) -> dict[str, Any]:
        return {path: each[step] for (path, each), step in zip(self.axes.values.items(), place, strict=True)}


def _worsens(requirement: Requirement, less: Sequence[Measured], more: Sequence[Measured]) -> bool:
    """Whether a requirement is met worse with more, by runs with common seeds: clearly, and by a part of its limit that
    matters."""
    if requirement.operator not in ORDERED:
        return False
    count = min(len(less), len(more))
    before, after = requirement.values(less[:count]), requirement.values(more[:count])
    known = np.isfinite(before) & np.isfinite(after)
    if known.sum() < min(FIRST, count) or known.sum() < 2:
        return False
    sign = 1.0 if requirement.operator in ("<", "<=") else -1.0
    found = paired(sign * after[known], sign * before[known], confidence=2 * CLEAR - 1)
    return found.low > MATERIAL * abs(requirement.limit)


# -- The recommendation


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What was found, and why not something cheaper."""

    scenario: Scenario
    """The scenario with the values that are recommended; as it was, if nothing meets."""
    answer: Candidate | None
    """The combination that is recommended; None: nothing meets."""
    cheaper: Candidate | None
    """The cheaper combination that comes nearest, of those that were played; None: there is none."""
    nearest: Candidate | None
    """If nothing meets: the combination that comes nearest."""
    dearer: tuple[dict[str, Any], float] | None
    """The answer with one step more of one thing, the cheapest such step, with its cost; None: there is none."""
    candidates: list[Candidate]
    """All that were played, the cheapest first."""
    rules: list[tuple[str, dict[str, Any] | None]]
    """Rules of thumb: each in words, with the values that it would recommend, or None for none."""
    confidence: float
    share: float | None
    replications: int
    combinations: int
    """How many came into question."""
    runs: int
    """How many were played, over all combinations."""
    worse: str
    """Where more turned out to be worse; "" if nowhere."""
    cut_short: bool
    """Whether there were too many combinations to try them all."""
    with_costs: bool
    """Whether costs were given."""
    largest: bool = False
    """Whether the largest value was looked for: then "cheaper" means larger, and "dearer" smaller."""

    @property
    def ok(self) -> bool:
        """Whether something meets what is required."""
        return self.answer is not None

    @property
    def values(self) -> dict[str, Any] | None:
        """By path, the values that are recommended; None: nothing meets."""
        return None if self.answer is None else dict(self.answer.values)

    @property
    def cost(self) -> float:
        """What they cost; NaN: nothing meets, or no costs were given."""
        return self.answer.cost if self.answer is not None and self.with_costs else math.nan

    @property
    def binding(self) -> str:
        """What keeps a cheaper combination from being enough, or any at all; "" if nothing cheaper was in question."""
        candidate = self.nearest if self.answer is None else self.cheaper
        return "" if candidate is None else candidate.worst.requirement.text

    @property
    def tried(self) -> pd.DataFrame:
        """A row for each combination that was played and each requirement: a column for each path, cost, requirement,
        met, value (the mean over runs), bound, limit, missed (in how many runs), runs."""
        rows = []
        for candidate in self.candidates:
            for each in candidate.judged:
                met = each.verdict is Verdict.MET
                row = {"cost": candidate.cost, "requirement": each.requirement.text, "met": met, "value": each.value}
                row |= {"bound": each.bound, "limit": each.requirement.limit, "missed": each.failed, "runs": each.runs}
                rows.append({**candidate.values, **row})
        return pd.DataFrame(rows)

    # -- views

    @property
    def headline(self) -> str:
        """The answer in a line."""
        if self.answer is None:
            where = (
                f"of the first {MOST_SCANNED}" if self.cut_short else f"of {counted(self.combinations, 'combination')}"
            )
            return f"nothing meets what is required, {where}"
        return f"{self.answer.name}{self._cost(self.answer.cost)}"

    def _cost(self, cost: float) -> str:
        return f" (cost {cost:,.6g})" if self.with_costs else ""

    @property
    def lines(self) -> list[str]:
        """What must be known of the answer, a line each."""
        found = []
        if self.answer is not None:
            found += [each.in_words(self.confidence) for each in self.answer.judged if not each.requirement.others]
            found.append(self._below())
            found.append(self._above())
        elif self.nearest is not None:
            found.append(f"nearest: {self.nearest.name}{self._cost(self.nearest.cost)}: {self._missed(self.nearest)}")
            found.append(f"what binds: {self.binding}")
        for text, values in self.rules:
            said = "none will do" if values is None else ", ".join(f"{path} {each}" for path, each in values.items())
            found.append(f"rule of thumb: {text}: {said}")
        if self.worse:
            more = "less" if self.largest else "more"
            found.append(
                f"{more} is not always better: {self.worse}; so {self._better} ones were tried one after the other"
            )
        how = f"{in_percent(self.confidence)} confidence" + (
            "" if self.share is None else f", {share_text(self.share)}"
        )
        played = f"{counted(self.runs, 'run')} of {counted(len(self.candidates), 'combination')}"
        found.append(
            f"{how}, {self.replications} replications with common seeds; {played} played, of "
            f"{self.replications * self.combinations:,} of {self.combinations:,}"
        )
        return found

    @property
    def _better(self) -> str:
        return "larger" if self.largest else "cheaper"

    def _below(self) -> str:
        if self.cheaper is None:
            return f"nothing {self._better} came into question"
        name = f"{self.cheaper.name}{self._cost(self.cheaper.cost)}"
        return f"the next {self._better} one, {name}: {self._missed(self.cheaper)}"

    def _above(self) -> str:
        if self.dearer is None or self.answer is None:
            return f"nothing {'smaller' if self.largest else 'larger'} came into question"
        values, cost = self.dearer
        name = ", ".join(f"{path} {value}" for path, value in values.items())
        more = f" costs {cost - self.answer.cost:,.6g} more" if self.with_costs else " would do, too"
        return f"one step {'down' if self.largest else 'up'}, {name},{more}"

    @staticmethod
    def _missed(candidate: Candidate) -> str:
        worst = candidate.worst
        by = ""
        if worst.miss > 0 and math.isfinite(worst.miss) and worst.requirement.limit:
            size = f"{worst.miss:.0%} of" if worst.miss < 10 else f"{worst.miss:,.0f} times"
            by = f", by {size} the limit"
        if worst.verdict is Verdict.OPEN:
            return f"not shown to meet {worst}{by}"
        return f"misses {worst}{by}"

    def render(self, console: Console) -> None:
        """Print the answer and what must be known of it."""
        from queuesim.results.views.terminal import print_line, print_marked

        print_marked(console, "passed" if self.ok else "failed", shown(self.headline))
        for line in self.lines:
            print_line(console, f"  {shown(line)}")

    def __repr__(self) -> str:
        return f"<Recommendation {self.headline}>"

    def _repr_html_(self) -> str:
        from queuesim.results.markup import fill

        status = "passed" if self.ok else "failed"
        return fill("recommendation.html", status=status, headline=self.headline, lines=self.lines)

    def as_json(self) -> dict[str, Any]:
        """The answer and all that was tried as plain values; what is not known is None."""

        def plain(candidate: Candidate | None) -> dict[str, Any] | None:
            if candidate is None:
                return None
            cost = candidate.cost if self.with_costs else None
            return {"values": candidate.values, "cost": cost, "why": str(candidate.worst)}

        return {
            "ok": self.ok,
            "values": self.values,
            "cost": self.cost,
            "binding": self.binding,
            "cheaper": plain(self.cheaper),
            "nearest": plain(self.nearest),
            "dearer": None if self.dearer is None else {"values": self.dearer[0], "cost": self.dearer[1]},
            "rules_of_thumb": [{"text": text, "values": values} for text, values in self.rules],
            "confidence": self.confidence,
            "share": self.share,
            "replications": self.replications,
            "combinations": self.combinations,
            "runs": self.runs,
            "monotone": not self.worse,
            "worse": self.worse,
            "tried": self.tried.to_dict(orient="records"),
        }
