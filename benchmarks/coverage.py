"""How often 95 % intervals hold what theory says: many replicated experiments on models with closed forms.

    python -m benchmarks.coverage --processes 2 -o reports/experiments.md

Needs the extras `analysis` and `fast`. With --cache an interrupted campaign goes on. All of it takes about an hour on
two cores; --experiments 50 gives a first impression.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments import TITLE
from benchmarks.sections import write_section

from queuesim import replicate
from queuesim.experiments.executor import Processes
from queuesim.experiments.interval import share_bounds
from queuesim.theory import MD1, MM1, MMc

REPLICATIONS = 10
JOBS = 20_000
"""Jobs of a run: percentiles of a run are biased, by less the longer it is."""
WARMUP = 0.1
LOWEST, HIGHEST = 0.93, 0.97
"""The target: what 95 % intervals may come to."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and the scenario that is it."""

    name: str
    model: MM1 | MMc | MD1
    servers: int
    service: Any

    @property
    def scenario(self) -> dict[str, Any]:
        seconds = JOBS / self.model.arrival_rate
        return {
            "name": self.name,
            "duration": seconds,
            "warmup": WARMUP * seconds,
            "workers": {"concurrency": self.servers},
            "jobs": {"job": {"service": self.service}},
            "load": [{"name": "users", "poisson": f"{self.model.arrival_rate}/s"}],
        }

    @property
    def expected(self) -> dict[str, float]:
        return {
            "waiting.mean": self.model.mean_waiting_time,
            "waiting.p95": self.model.waiting_quantile(0.95),
            "utilisation": self.model.utilisation,
        }


EXPONENTIAL = {"exponential": "1s"}
CASES = (
    Case("M/M/1 at 70 %", MM1(0.7, 1.0), 1, EXPONENTIAL),
    Case("M/M/5 at 80 %", MMc(4.0, 1.0, 5), 5, EXPONENTIAL),
    Case("M/M/20 at 90 %", MMc(18.0, 1.0, 20), 20, EXPONENTIAL),
    Case("M/D/1 at 80 %", MD1(0.8, 1.0), 1, "1s"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the report to write")
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args(arguments)
    lines = [
        "| model | figure | theory | mean of the intervals | coverage | 95 % bounds |",
        "|---|---|---:|---:|---:|---|",
    ]
    worst = 0.0
    began = time.perf_counter()
    with Processes(given.processes) as executor:
        for case in CASES:
            covered = dict.fromkeys(case.expected, 0)
            means = dict.fromkeys(case.expected, 0.0)
            for seed in range(given.experiments):
                names = tuple(case.expected)
                options = {"measured": names, "seed": seed, "executor": executor, "cache": given.cache}
                found = replicate(case.scenario, REPLICATIONS, progress=False, **options)
                for name, value in case.expected.items():
                    interval = found.interval(name)
                    covered[name] += value in interval
                    means[name] += interval.mean / given.experiments
            for name, value in case.expected.items():
                bounds = share_bounds(covered[name], given.experiments)
                worst = max(worst, LOWEST - bounds.estimate, bounds.estimate - HIGHEST)
                lines.append(
                    f"| {case.name} | {name} | {value:.4f} | {means[name]:.4f} | {bounds.estimate:.1%} | "
                    f"{bounds.low:.1%} to {bounds.high:.1%} |"
                )
            print("\n".join(lines[-3:]), flush=True)
    minutes = math.ceil((time.perf_counter() - began) / 60)
    text = (
        f"Made by `python -m benchmarks.coverage --experiments {given.experiments}` with Python "
        f"{platform.python_version()}, in {minutes} minutes: {given.experiments:,} experiments on each model, each of "
        f"{REPLICATIONS} replications of {JOBS:,} jobs, of which the first {WARMUP:.0%} of the time are left out. How "
        f"often the 95 % interval holds what theory says. The target is {LOWEST:.0%} to {HIGHEST:.0%}: "
        f"{'reached' if worst <= 0 else f'missed by {worst:.1%}'}.\n\n" + "\n".join(lines)
    )
    print(text)
    if given.output is not None:
        write_section(given.output, "Coverage", text, TITLE)


if __name__ == "__main__":
    main()
