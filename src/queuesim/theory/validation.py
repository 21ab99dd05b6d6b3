"""Validation: replications of every case, compared with its closed form, and formulas compared with Markov chains.

It makes ``reports/validation.md``:

    python -m queuesim.theory.validation -o reports/validation.md

needs the extra `analysis`. The same seed, jobs and replications give the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from queuesim.experiments.interval import Interval, replications
from queuesim.theory.deterministic import MD1, MDc
from queuesim.theory.feedback import BernoulliFeedback
from queuesim.theory.finite_source import MachineRepair
from queuesim.theory.general import DM1, MG1
from queuesim.theory.limiter import WindowLimiter
from queuesim.theory.markovian import MM1, MMc
from queuesim.theory.model import Model, MultiServer
from queuesim.theory.priority import PriorityClass, PriorityMG1, PriorityMMc, PriorityModel
from queuesim.theory.tables import approximation_rows, table_rows
from queuesim.theory.tables import page as page_of_tables

if TYPE_CHECKING:
    import pandas as pd

    from queuesim.results.result import Result


# -- A validation case: a scenario whose answer is known in closed form

WARMUP = 0.05
"""Fraction of a run that is dropped at its start, before the steady state."""
TAIL = 0.02
"""Fraction dropped at its end: of the jobs before it, all have finished when the run ends."""


@dataclass(frozen=True)
class Quantity:
    """A quantity that theory predicts and a run measures."""

    name: str
    expected: float
    """The closed form's value: seconds, or a probability."""
    measure: Callable[[pd.DataFrame], float]
    """The same from the settled jobs of one run: rows of `Result.jobs`."""


@dataclass(frozen=True)
class ValidationCase:
    """A station in steady state, as a scenario, and what is known of it."""

    name: str
    source: str
    """Where the closed form comes from."""
    arrival_rate: float
    """New jobs per second, over all classes."""
    settings: Mapping[str, Any]
    """The scenario's keys but for its duration, warm-up and seed."""
    quantities: tuple[Quantity, ...]

    def duration(self, jobs: int) -> float:
        """Seconds for about `jobs` arrivals. Raises ValueError for fewer jobs than 100."""
        if jobs < 100:
            raise ValueError(f"a validation run needs 100 jobs or more, not {jobs}")
        return jobs / self.arrival_rate

    def scenario(self, jobs: int) -> dict[str, Any]:
        """The scenario that lasts for about `jobs` arrivals. Raises ValueError for fewer jobs than 100."""
        duration = self.duration(jobs)
        return {**self.settings, "duration": f"{duration:.3f}s", "warmup": f"{WARMUP * duration:.3f}s"}

    def settled(self, frame: pd.DataFrame, jobs: int) -> pd.DataFrame:
        """The jobs of the steady state, from `Result.jobs` of a run of ``scenario(jobs)``: those that were scheduled
        after the warm-up and before the tail.

        Raises:
            ValueError: there are none, or some of them never finished: the run was cut short or is not stable.
        """
        kept = frame[~frame["warmup"] & (frame["scheduled"] < (1 - TAIL) * self.duration(jobs))]
        unfinished = int(kept["finished"].isna().sum())
        if unfinished or kept.empty:
            raise ValueError(f"{self.name}: of {len(kept)} jobs between warm-up and tail, {unfinished} did not finish")
        return kept


def mean_waiting(expected: float, name: str = "mean waiting time", **where: int) -> Quantity:
    """Mean seconds from ready to first start. `where` picks jobs by a column, as in ``priority=1``."""
    return Quantity(name, expected, lambda jobs: float(_pick(jobs, where)["waiting"].mean()))


def mean_latency(expected: float) -> Quantity:
    """Mean seconds from arrival to the end of the last attempt: the time in system."""
    return Quantity("mean time in system", expected, lambda jobs: float(jobs["latency"].mean()))


def waiting_percentile(expected: float, percent: float) -> Quantity:
    """Seconds within which `percent` % of the jobs start."""
    name = f"waiting time, {percent:g}th percentile"
    return Quantity(name, expected, lambda jobs: float(np.quantile(jobs["waiting"], percent / 100)))


def probability_of_waiting(expected: float) -> Quantity:
    """Fraction of the jobs that can't start at once."""
    # a difference of two times of 1e6 s is exact to 1e-10 s
    return Quantity("probability of waiting", expected, lambda jobs: float((jobs["waiting"] > 1e-9).mean()))


def _pick(jobs: pd.DataFrame, where: Mapping[str, int]) -> pd.DataFrame:
    for column, value in where.items():
        jobs = jobs[jobs[column] == value]
    return jobs


# -- The validation cases: the stations with whose closed forms the simulation is compared

UNLIMITED = 1_000_000
"""Attempts that no job will ever use up."""


def cases() -> tuple[ValidationCase, ...]:
    """All cases. Services have a mean of 1 s, save where classes differ."""
    lognormal = {"mean": "1s", "p95": f"{lognormal_percentile(1.0, 2.0, 95):.9f}s"}
    classes = [PriorityClass(0.2, 0.5), PriorityClass(0.3, 1.0), PriorityClass(0.2, 1.5)]
    return (
        _single(
            "M/M/1", "Kleinrock vol. 1, 3.2", MM1(0.8, 1.0), EXPONENTIAL, _waiting, _latency, _probability, _waiting_p95
        ),
        _single("M/M/5", "Erlang 1917", MMc(4.0, 1.0, 5), EXPONENTIAL, _waiting, _latency, _probability, _waiting_p95),
        _single("M/D/1", "Erlang 1909; Franx 2001", MD1(0.8, 1.0), CONSTANT, _waiting, _waiting_p95),
        _single(
            "M/D/5", "Crommelin 1932; Franx 2001", MDc(4.0, 1.0, 5), CONSTANT, _waiting, _probability, _waiting_p95
        ),
        _regular(),
        _mg1("lognormal", 2.0, {"lognormal": lognormal}),
        _mg1("gamma", 0.5, {"gamma": {"mean": "1s", "shape": 2.0}}),
        _feedback(),
        _retries(),
        _producers(),
        _limiter(),
        _priorities("M/M/1, 3 priorities, own services", PriorityMG1(classes), 1),
        _priorities("M/M/3, 3 priorities", PriorityMMc((0.4, 0.8, 1.2), 1.0, 3), 3),
    )


def lognormal_percentile(mean: float, scv: float, percent: float) -> float:
    """The percentile of a lognormal variable with this mean and squared coefficient of variation, in `mean`'s unit.

    Source: with s**2 = ln(1 + scv) the logarithm has standard deviation s and mean ln(mean) - s**2 / 2.
    """
    sigma = math.sqrt(math.log1p(scv))
    return mean * math.exp(NormalDist().inv_cdf(percent / 100) * sigma - sigma**2 / 2)


def _settings(
    name: str, arrival_rate: float, jobs: Mapping[str, Any], servers: int = 1, queue: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "queue": {"name": "validation", **(queue or {})},
        "workers": {"count": 1, "concurrency": servers},
        "jobs": dict(jobs),
        "load": [{"name": "arrivals", "poisson": {"rate": f"{arrival_rate!r}/s"}}],
    }


EXPONENTIAL = {"exponential": {"mean": "1s"}}
CONSTANT = {"constant": "1s"}

Expect = Callable[[Any], Quantity]
"""A quantity as a model predicts it."""


def _waiting(model: Model) -> Quantity:
    return mean_waiting(model.mean_waiting_time)


def _latency(model: Model) -> Quantity:
    return mean_latency(model.mean_time_in_system)


def _probability(model: Model) -> Quantity:
    return probability_of_waiting(model.probability_of_waiting)


def _waiting_p95(model: MMc | MDc | DM1 | MachineRepair | WindowLimiter) -> Quantity:
    return waiting_percentile(model.waiting_quantile(0.95), 95)


def _single(name: str, source: str, model: Model, service: Mapping[str, Any], *expected: Expect) -> ValidationCase:
    """A case with one type of job."""
    servers = model.servers if isinstance(model, MultiServer) else 1
    settings = _settings(name, model.arrival_rate, {"job": {"service": service}}, servers)
    return ValidationCase(name, source, model.arrival_rate, settings, tuple(each(model) for each in expected))


def _mg1(distribution: str, scv: float, service: Mapping[str, Any]) -> ValidationCase:
    name = f"M/G/1, {distribution}, scv {scv:g}"
    return _single(name, "Pollaczek 1930, Khinchine 1932", MG1(0.7, 1.0, scv), service, _waiting, _latency)


def _feedback() -> ValidationCase:
    """A failed attempt goes back to the tail of the queue at once, and its next attempt draws a new service."""
    model = BernoulliFeedback(0.5, 1.0, 0.3)
    name = "M/M/1, Bernoulli feedback 0.3"
    jobs = {"job": {"service": EXPONENTIAL, "errors": {"network": model.feedback_probability}}}
    settings = _settings(name, model.arrival_rate, jobs, queue={"attempts": UNLIMITED, "backoff": "0s"})
    quantities = (
        mean_waiting(model.mean_first_waiting_time, "mean first waiting time"),
        mean_latency(model.mean_time_in_system),
    )
    return ValidationCase(name, "Takács 1963", model.arrival_rate, settings, quantities)


def _retries() -> ValidationCase:
    """Retries at the tail: further visits of a network with a product form, so every visit waits as in M/M/5."""
    name = "M/M/5, retries 0.4, at most 3 attempts"
    model = MMc(2.5 * (1 + 0.4 + 0.4**2), 1.0, 5)
    jobs = {"job": {"service": EXPONENTIAL, "errors": {"network": 0.4}}}
    settings = _settings(name, 2.5, jobs, 5, queue={"attempts": 3, "backoff": "0s"})
    quantities = mean_waiting(model.mean_waiting_time, "mean first waiting time"), _waiting_p95(model)
    return ValidationCase(name, "Baskett et al. 1975", 2.5, settings, quantities)


def _regular() -> ValidationCase:
    name, model = "D/M/1", DM1(0.8, 1.0)
    settings = {
        **_settings(name, model.arrival_rate, {"job": {"service": EXPONENTIAL}}),
        "load": [{"name": "arrivals", "constant": {"rate": f"{model.arrival_rate!r}/s"}}],
    }
    quantities = _waiting(model), _probability(model), _waiting_p95(model)
    return ValidationCase(name, "Kleinrock vol. 1, 6.4", model.arrival_rate, settings, quantities)


def _producers() -> ValidationCase:
    """Producers that think for a constant time: of the time to think, only the mean matters."""
    model = MachineRepair(12, 2.0, 1.0, 5)
    name = "M/M/5//12, constant think time"
    settings = {
        **_settings(name, 1.0, {"job": {"service": EXPONENTIAL}}, 5),
        "load": [{"name": "producers", "closed": {"producers": model.producers, "think": "2s"}}],
    }
    quantities = (
        mean_waiting(model.mean_waiting_time),
        probability_of_waiting(model.probability_of_waiting),
        _waiting_p95(model),
    )
    return ValidationCase(name, "Gross et al., 2.8; Baskett et al. 1975", model.throughput, settings, quantities)


def _limiter() -> ValidationCase:
    """A limiter in front of slots of which there is always a free one."""
    model = WindowLimiter(2.6, 10, 3.0)
    name = "limiter, 10 starts per 3 s"
    settings = {
        **_settings(name, model.arrival_rate, {"job": {"service": "100ms"}}),
        "workers": {"concurrency": 30, "limiter": {"max": model.max_starts, "duration": "3s"}},
    }
    quantities = (
        mean_waiting(model.mean_waiting_time),
        probability_of_waiting(model.probability_of_waiting),
        _waiting_p95(model),
    )
    return ValidationCase(name, "bulk service; Crommelin 1932", model.arrival_rate, settings, quantities)


def _priorities(name: str, model: PriorityModel, servers: int) -> ValidationCase:
    """Priorities 1, 2 and so on: BullMQ's 1 is the most urgent, and 0 would stand outside the order."""
    rate = sum(model.arrival_rates)
    jobs = {
        f"class-{number}": {
            "weight": arrivals / rate,
            "priority": number,
            "service": {"exponential": {"mean": f"{service!r}s"}},
        }
        for number, (arrivals, service) in enumerate(zip(model.arrival_rates, model.mean_services, strict=True), 1)
    }
    quantities = tuple(
        mean_waiting(wait, f"mean waiting time, priority {number}", priority=number)
        for number, wait in enumerate(model.mean_waiting_times, 1)
    )
    return ValidationCase(name, "Cobham 1954", rate, _settings(name, rate, jobs, servers), quantities)


SEED = 20_240_229
JOBS = 50_000
REPLICATIONS = 10
CONFIDENCE = 0.99

Runner = Callable[[dict[str, Any], int], "Result"]
"""Runs a scenario with a seed."""


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """One quantity of one case: the closed form beside what was simulated."""

    case: ValidationCase
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
    chosen: Iterable[ValidationCase] | None = None,
    *,
    replications: int = REPLICATIONS,
    jobs: int = JOBS,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
    run: Runner | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[ValidationRow]:
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


def _seeds(case: ValidationCase, seed: int, count: int) -> list[int]:
    sequence = np.random.SeedSequence([seed, zlib.crc32(case.name.encode())])
    return [int(word) for word in sequence.generate_state(count)]


def _compare(
    case: ValidationCase, seeds: Sequence[int], jobs: int, confidence: float, run: Runner
) -> list[ValidationRow]:
    rows = []
    for seed in seeds:
        result = run(case.scenario(jobs), seed)
        settled = case.settled(result.jobs, jobs)
        rows.append([quantity.measure(settled) for quantity in case.quantities])
    columns = np.array(rows, dtype=np.float64).T
    return [
        ValidationRow(case, quantity, replications(column, confidence=confidence))
        for quantity, column in zip(case.quantities, columns, strict=True)
    ]


def report(
    comparisons: Sequence[ValidationRow], *, seed: int, jobs: int, count: int, tables: Sequence[str] = ()
) -> str:
    """The comparisons as a Markdown page, with further lines below.

    It holds no date and no version, so that it only changes with the results.
    """
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
        f"Seed {seed}. Made by `python -m queuesim.theory.validation --seed {seed} --jobs {jobs} "
        f"--replications {count} -o reports/validation.md`.",
        "",
        "| case | quantity | closed form | simulated | interval | difference | verdict | source |",
        "|---|---|--:|--:|--:|--:|---|---|",
        *(_row(comparison) for comparison in comparisons),
        "",
        f"{agreeing} of {len(comparisons)} rows agree.",
        *tables,
    ]
    return "\n".join(lines) + "\n"


def _row(comparison: ValidationRow) -> str:
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
    """The command. Returns 0 if every row agrees, of simulations and of tables, and 1 if one differs."""
    parser = argparse.ArgumentParser(prog="python -m queuesim.theory.validation", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the Markdown file to write (default: standard output)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=JOBS, help="jobs per replication (default: %(default)s)")
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="runs per case (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    comparisons = validate(
        replications=chosen.replications,
        jobs=chosen.jobs,
        seed=chosen.seed,
        progress=lambda line: print(line, file=sys.stderr),  # noqa: T201
    )
    rows = table_rows()
    tables = page_of_tables(rows, approximation_rows())
    page = report(comparisons, seed=chosen.seed, jobs=chosen.jobs, count=chosen.replications, tables=tables)
    if chosen.output is None:
        sys.stdout.write(page)
    else:
        chosen.output.write_text(page, encoding="utf-8", newline="\n")
    agree = all(comparison.agrees for comparison in comparisons) and all(row.agrees for row in rows)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
