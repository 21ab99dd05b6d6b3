"""Validation: replications of every case, held against its closed form. Makes ``reports/validation.md``.

    python -m queuesim.analysis.validation -o reports/validation.md

needs the extra `analysis`. The same seed, jobs and replications give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from queuesim.analysis.case import TAIL, WARMUP, Case, Quantity
from queuesim.analysis.cases import cases
from queuesim.analysis.interval import Interval, replications

if TYPE_CHECKING:
    from queuesim.metrics.result import Result

SEED = 20_240_229
JOBS = 50_000
REPLICATIONS = 10
CONFIDENCE = 0.99

Runner = Callable[[dict[str, Any], int], "Result"]
"""Runs a scenario with a seed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity of one case: the closed form beside what was simulated."""

    case: Case
    quantity: Quantity
    interval: Interval

    @property
    def difference(self) -> float:
        """Simulated over expected, less 1."""
        return self.interval.mean / self.quantity.expected - 1

    @property
    def agrees(self) -> bool:
        """The closed form's value lies in the interval."""
        return self.quantity.expected in self.interval


def validate(
    chosen: Iterable[Case] | None = None,
    *,
    replications: int = REPLICATIONS,
    jobs: int = JOBS,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
    run: Runner | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Comparison]:
    """Simulate each case `replications` times with about `jobs` arrivals, and compare.

    `chosen` defaults to all of `cases()`, and `run` to `queuesim.run` on the simulation backend. `progress` is given a
    line before each case. A case's seeds depend on `seed` and its name only, not on which other cases there are.

    Raises:
        ValueError: fewer than 2 replications, too few jobs, or a run in which settled jobs did not finish.
        MissingExtraError: scipy is not installed.
    """
    runner = simulate if run is None else run
    comparisons = []
    for case in cases() if chosen is None else chosen:
        progress(f"{case.name}: {replications} x {jobs} jobs")
        comparisons += _compare(case, _seeds(case, seed, replications), jobs, confidence, runner)
    return comparisons


def simulate(scenario: dict[str, Any], seed: int) -> Result:
    """`queuesim.run` on the simulation backend."""
    import queuesim

    result: Result = queuesim.run(scenario, backend="sim", seed=seed)
    return result


def _seeds(case: Case, seed: int, count: int) -> list[int]:
    sequence = np.random.SeedSequence([seed, zlib.crc32(case.name.encode())])
    return [int(word) for word in sequence.generate_state(count)]


def _compare(case: Case, seeds: Sequence[int], jobs: int, confidence: float, run: Runner) -> list[Comparison]:
    rows = []
    for seed in seeds:
        result = run(case.scenario(jobs), seed)
        settled = case.settled(result.jobs, jobs)
        rows.append([quantity.measure(settled) for quantity in case.quantities])
    columns = np.array(rows, dtype=np.float64).T
    return [
        Comparison(case, quantity, replications(column, confidence=confidence))
        for quantity, column in zip(case.quantities, columns, strict=True)
    ]


def report(comparisons: Sequence[Comparison], *, seed: int, jobs: int, count: int) -> str:
    """The comparisons as a Markdown page. It holds no date and no version, so that it only changes with the results."""
    agreeing = sum(comparison.agrees for comparison in comparisons)
    confidence = comparisons[0].interval.confidence if comparisons else CONFIDENCE
    lines = [
        "# Validation against queueing theory",
        "",
        f"Every row is {count} independent runs of about {jobs} jobs each through the whole processor, in virtual",
        f"time. The first {WARMUP:.0%} of each run is warm-up and the last {TAIL:.0%} is cut, so that every job that",
        f"counts has finished. The interval is the {confidence:.0%} confidence interval of the mean over the runs",
        "(Student's t); a row agrees if the closed form lies in it. Times are in seconds. Even if all is right, an",
        f"interval misses its value with probability {1 - confidence:.2g}: about "
        f"{(1 - confidence) * len(comparisons):.1f} of {len(comparisons)} rows.",
        "",
        f"Seed {seed}. Made by `python -m queuesim.analysis.validation --seed {seed} --jobs {jobs} "
        f"--replications {count} -o reports/validation.md`.",
        "",
        "| case | quantity | closed form | simulated | interval | difference | verdict | source |",
        "|---|---|--:|--:|--:|--:|---|---|",
        *(_row(comparison) for comparison in comparisons),
        "",
        f"{agreeing} of {len(comparisons)} rows agree.",
    ]
    return "\n".join(lines) + "\n"


def _row(comparison: Comparison) -> str:
    interval = comparison.interval
    cells = (
        comparison.case.name,
        comparison.quantity.name,
        f"{comparison.quantity.expected:.4f}",
        f"{interval.mean:.4f}",
        f"{interval.low:.4f} to {interval.high:.4f}",
        f"{comparison.difference:+.2%}",
        "agrees" if comparison.agrees else "**differs**",
        comparison.case.source,
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 if every row agrees, 1 if one differs."""
    parser = argparse.ArgumentParser(prog="python -m queuesim.analysis.validation", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the Markdown file to write (default: standard output)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=JOBS, help="jobs per replication (default: %(default)s)")
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="runs per case (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    comparisons = validate(
        replications=chosen.replications,
        jobs=chosen.jobs,
        seed=chosen.seed,
        progress=lambda line: _say(sys.stderr, line),
    )
    page = report(comparisons, seed=chosen.seed, jobs=chosen.jobs, count=chosen.replications)
    if chosen.output is None:
        sys.stdout.write(page)
    else:
        chosen.output.write_text(page, encoding="utf-8", newline="\n")
    return 0 if all(comparison.agrees for comparison in comparisons) else 1


def _say(stream: Any, line: str) -> None:
    stream.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
