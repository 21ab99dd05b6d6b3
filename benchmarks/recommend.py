"""Recommendations beside exhaustive search: the same answers, with how many of the runs?

    python -m benchmarks.recommend --processes 2 -o reports/experiments.md

Problems are drawn: the load, the service times, what may be changed, and the thresholds. Both searches play the same
seeds; runs are shared through a cache, so that all takes as long as the exhaustive search. --problems 3 gives a first
impression.
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments import TITLE
from benchmarks.sections import write_section

from queuesim import recommend, sweep, vary
from queuesim.experiments.executor import Executor, Processes
from queuesim.experiments.frontier import Frontier, costs_of
from queuesim.experiments.requirement import HEALTHY, Requirement, Verdict, thresholds_of
from queuesim.scenario.loading import as_scenario

REPLICATIONS = 10
JOBS = 5_000
TARGET = 0.25
"""The most runs, of those of an exhaustive search."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question that both searches answer."""

    scenario: dict[str, Any]
    values: dict[str, list[int]]
    cost: dict[str, float] | None
    require: list[str]

    @property
    def text(self) -> str:
        axes = ", ".join(f"{path} {values[0]} to {values[-1]}" for path, values in self.values.items())
        return f"{axes}; {' and '.join(self.require)}"


def draw(number: int) -> Problem:
    """A problem by its number."""
    rng = random.Random(number)
    mean = rng.choice([0.2, 0.5, 1.0, 2.0])
    busy = rng.uniform(4, 25)
    slots = rng.choice([1, 2, 5])
    service = rng.choice(
        [
            {"exponential": f"{mean}s"},
            {"lognormal": {"mean": f"{mean}s", "p95": f"{3.2 * mean:.3f}s"}},
            {"gamma": {"mean": f"{mean}s", "shape": 2.0}},
            f"{mean}s",
        ]
    )
    rate = busy / mean
    seconds = JOBS / rate
    scenario = {
        "name": f"problem-{number}",
        "seed": number,
        "duration": seconds,
        "warmup": seconds / 10,
        "queue": {"attempts": 3, "backoff": {"type": "exponential", "delay": "1s"}},
        "workers": {"count": math.ceil(1.4 * busy / slots), "concurrency": slots},
        "jobs": {"job": {"service": service, "errors": {"network": rng.choice([0.0, 0.02, 0.1])}}},
        "load": [{"name": "users", "poisson": f"{rate}/s"}],
    }
    statistic, factor = rng.choice([("mean", 0.1), ("p95", 0.5), ("p95", 2.0), ("p99", 3.0)])
    require = [f"waiting.{statistic} < {max(0.001, factor * mean * rng.uniform(0.5, 2)):.3f}s", "lost == 0"]
    kind = number % 4
    if kind == 0:
        low = max(1, math.floor(rate / 2))
        scenario["workers"]["limiter"] = {"max": low, "duration": "1s"}
        step = max(1, math.ceil(rate / 20))
        return Problem(scenario, {"workers.limiter.max": list(range(low, low + 40 * step, step))}, None, require)
    if kind == 1:
        # both together, at most 12 by 10
        values = {"workers.count": list(range(1, 13)), "workers.concurrency": list(range(1, 11))}
        cost = {"workers.count": float(rng.randint(5, 30)), "workers.concurrency": float(rng.randint(1, 5))}
        return Problem(scenario, values, cost, require)
    path = "workers.count" if kind == 2 else "workers.concurrency"
    scenario["workers"] |= {"workers.count": {"count": 1}, "workers.concurrency": {"count": slots}}[path]
    return Problem(scenario, {path: list(range(1, 41))}, None, require)


def exhaustive(problem: Problem, executor: Executor, cache: Path) -> dict[str, Any] | None:
    """The cheapest combination that meets what is required, of all."""
    asked = vary(as_scenario(problem.scenario), {"thresholds": problem.require})
    frame = sweep(asked, problem.values, [], replications=REPLICATIONS, executor=executor, cache=cache, progress=False)
    assert frame.sweep is not None
    requirements = [*(Requirement.of(each) for each in thresholds_of(asked, ())), HEALTHY]
    prices = [1.0] * len(problem.values) if problem.cost is None else list(problem.cost.values())
    costs = costs_of(list(problem.values.values()), prices)
    combinations = list(frame.sweep.axes)
    for place in Frontier.of(costs).cheaper(None):
        values = {path: each[step] for (path, each), step in zip(problem.values.items(), place, strict=True)}
        runs = frame.sweep.of(combinations.index(values))
        if all(each.judge(runs, 0.95).verdict is Verdict.MET for each in requirements):
            return values
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the report to write")
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="where runs are kept, so that an interrupted campaign goes on")
    given = parser.parse_args(arguments)
    lines = ["| problem | answer | the same | runs | of all | part |", "|---|---|---|---:|---:|---:|"]
    same = played = possible = 0
    with ExitStack() as stack:
        executor = stack.enter_context(Processes(given.processes))
        cache = given.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(given.problems):
            problem = draw(number)
            options = {"require": problem.require, "cost": problem.cost, "replications": REPLICATIONS}
            found = recommend(
                problem.scenario, problem.values, executor=executor, cache=cache, progress=False, **options
            )
            expected = exhaustive(problem, executor, cache)
            total = found.combinations * REPLICATIONS
            agrees = found.values == expected
            same, played, possible = same + agrees, played + found.runs, possible + total
            answer = "nothing" if found.values is None else ", ".join(map(str, found.values.values()))
            lines.append(
                f"| {problem.text} | {answer} | {'yes' if agrees else f'no: {expected}'} | {found.runs} | {total:,} | "
                f"{found.runs / total:.1%} |"
            )
            print(lines[-1], flush=True)
    text = (
        f"Made by `python -m benchmarks.recommend --problems {given.problems}` with Python "
        f"{platform.python_version()}: {given.problems} drawn problems, {REPLICATIONS} replications of about {JOBS:,} "
        "jobs. Both searches judge by the same rule, and the exhaustive one plays all combinations. "
        f"{same} of {given.problems} answers are the same, with {played:,} of {possible:,} runs, "
        f"{played / possible:.1%}; the target is all, with {TARGET:.0%} at most.\n\n"
    )
    text += "\n".join(lines)
    print(text)
    if given.output is not None:
        write_section(given.output, "Recommendations", text, TITLE)


if __name__ == "__main__":
    main()
