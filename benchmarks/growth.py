"""How the cost of a job grows with the number of jobs, for each feature of the language: playing, judging, health
checks, summarising.

    python -m benchmarks.growth -o reports/growth.md

Seconds are processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import csv
import gc
import io
import itertools
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sections import write_section
from rich.console import Console

from queuesim.results.health import judge_health
from queuesim.results.result import Result
from queuesim.results.views.terminal import render
from queuesim.runs.judging import Abort, what_is_asked
from queuesim.runs.judging import judge as judge_thresholds
from queuesim.runs.virtual.engine import MAX_GENERATIONS, Simulation, seldom_collected
from queuesim.scenario.model import Scenario
from queuesim.simulation.loop import VirtualLoop
from queuesim.simulation.runner import run as run_in_virtual_time

SIZES = (10_000, 40_000, 160_000)
MOST_GROWTH = 1.3
"""Cost of a job at one size, over that at the size before."""
SLIGHT = 0.5
"""Microseconds a job. What costs less is done in so few milliseconds that it grows by the processor's caches."""
SEED = 42
RATE = 40.0
"""Jobs per second of load."""
TITLE = "# Growth\n\nThe cost of a job, by the number of jobs in the run.\n"

Settings = dict[str, Any]
Feature = Callable[[int], Settings]
"""The scenario of a feature, with about so many jobs."""


# -- the features


def steady(count: int, **settings: Any) -> Settings:
    """Poisson arrivals at 80 % of what ten slots can do, for as long as so many jobs take to arrive."""
    return {
        "name": "growth",
        "duration": count / RATE,
        "drain": True,
        "queue": {"attempts": 3, "keep": {"completed": 100, "failed": 50}},
        "workers": {"count": 2, "concurrency": 5},
        "jobs": {"mail": {"service": {"exponential": 0.2}}},
        "load": [{"name": "users", "poisson": RATE}],
        **settings,
    }


def scanned(count: int, **settings: Any) -> Settings:
    """As `steady`, with jobs that overdue scans make, and no other load."""
    made = steady(count, **settings)
    del made["load"]
    return made


def priorities(count: int) -> Settings:
    jobs = {f"p{n}": {"service": {"exponential": 0.2}, "priority": n} for n in range(10)}
    return steady(count, jobs=jobs)


def delays(count: int) -> Settings:
    return steady(count, jobs={"mail": {"service": {"exponential": 0.2}, "delay": 60.0}})


def retries(count: int) -> Settings:
    queue = {"attempts": 5, "backoff": {"type": "exponential", "delay": "1s", "jitter": 0.5}}
    service = {"service": {"exponential": 0.15}, "errors": {"network": 0.2, "validation": 0.01}}
    return steady(count, queue=queue, jobs={"mail": service})


def own_options(count: int) -> Settings:
    """A recorded trace: each job has options of its own."""
    path = Path(tempfile.gettempdir()) / f"growth-{os.getpid()}-{count}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["added_ms", "name", "service_ms", "priority", "delay_ms"])
        rows.writerows([n * 1000 / RATE, "mail", 200, n % 5, n % 7 * 1000] for n in range(count))
    return steady(count, load=[{"name": "recorded", "trace": str(path)}])


def deduplication(count: int) -> Settings:
    """Each notification has an id of its own and a deduplication id; scans overlap, so that some are dropped."""
    overdue = {"every": "10m", "tasks": count, "page_size": 100, "window": "1h"}
    return scanned(count, duration=count / 10, overdue=overdue, jobs={OVERDUE: {"service": 0.2}})


def backlog(count: int) -> Settings:
    """All jobs at once."""
    return steady(count, load=[{"name": "backlog", "backlog": count}])


def overdue(count: int) -> Settings:
    """A backlog of overdue tasks, behind a limiter: scans find it again and again."""
    settings = {"every": count / 250, "backlog": count, "page_size": 100, "window": "10d"}
    workers = {"concurrency": 5, "limiter": {"max": 3000, "duration": "60s"}}
    return scanned(count, duration=count / 40, overdue=settings, workers=workers, jobs={OVERDUE: {"service": 0.05}})


def faults(count: int) -> Settings:
    """Crashes and outages at a constant rate: the longer the run, the more there are."""
    crash = {"worker.crash": {"every": {"exponential": 60.0}, "restart": 1.0}}
    outage = {"redis.outage": {"every": {"exponential": 120.0}, "for": 2.0}}
    return steady(count, faults=[crash, outage])


def failovers(count: int) -> Settings:
    """The server forgets its last moments, again and again."""
    return steady(count, faults=[{"redis.failover": {"every": {"exponential": 60.0}, "lose": 0.5}}])


def workers(n: int) -> Feature:
    """So many workers, at 80 % of what they can do."""

    def settings(count: int) -> Settings:
        rate = 40.0 * n
        return steady(
            count, duration=count / rate, workers={"count": n, "concurrency": 10}, load=[{"name": "u", "poisson": rate}]
        )

    return settings


def idle_workers(count: int) -> Settings:
    """800 workers, nearly all of which wait for work."""
    return steady(count, workers={"count": 800, "concurrency": 1})


def types(n: int) -> Feature:
    def settings(count: int) -> Settings:
        return steady(count, jobs={f"type-{i}": {"service": {"exponential": 0.2}} for i in range(n)})

    return settings


def entries(n: int) -> Feature:
    def settings(count: int) -> Settings:
        return steady(count, load=[{"name": f"load-{i}", "poisson": RATE / n} for i in range(n)])

    return settings


def closed(count: int) -> Settings:
    """20 producers, each of which waits for its job."""
    return steady(count, load=[{"name": "users", "closed": {"producers": 20, "think": {"exponential": 0.3}}}])


def limiter(count: int) -> Settings:
    limit = {"max": 100, "duration": "2s"}
    return steady(count, workers={"count": 2, "concurrency": 5, "limiter": limit})


def keep_all(count: int) -> Settings:
    """No retention: every finished job stays."""
    return steady(count, queue={"attempts": 3}, jobs={"mail": {"service": 0.2}})


def thresholds(count: int) -> Settings:
    return steady(count, thresholds=["lost == 0", {"latency": "p95 < 60s", "over": "4s"}])


def aborting(count: int) -> Settings:
    """Thresholds that could end the run, and don't: it is looked at again and again."""
    return steady(count, thresholds=[{"latency.p95": "< 60s", "abort": True}, {"failed": "== 0", "abort": True}])


OVERDUE = "overdue-tasks-notification"
FEATURES: dict[str, Feature] = {
    "steady load": steady,
    "all jobs at once": backlog,
    "priorities": priorities,
    "delays": delays,
    "retries": retries,
    "own options": own_options,
    "deduplication": deduplication,
    "overdue scans": overdue,
    "faults": faults,
    "failovers": failovers,
    "limiter": limiter,
    "no retention": keep_all,
    "closed load": closed,
    "thresholds": thresholds,
    "thresholds that abort": aborting,
    "1 worker": workers(1),
    "10 workers": workers(10),
    "100 workers": workers(100),
    "800 workers": workers(800),
    "800 idle workers": idle_workers,
    "1 job type": types(1),
    "200 job types": types(200),
    "50 load entries": entries(50),
}


# -- measuring


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one run."""

    jobs: int
    play: float
    judge: float
    health: float
    summarise: float

    def each(self, phase: str) -> float:
        """Microseconds a job."""
        seconds: float = getattr(self, phase)
        return seconds / max(self.jobs, 1) * 1e6


PHASES = ("play", "judge", "health", "summarise")


def measure(settings: Settings) -> Cost:
    """Play one scenario."""
    scenario = Scenario.model_validate(settings)
    gc.collect()
    with closing(VirtualLoop()) as loop, seldom_collected():
        loop.most_generations = MAX_GENERATIONS
        began = time.process_time()
        simulation = Simulation(scenario, loop, seed=SEED, abort=Abort.of(scenario))
        run_in_virtual_time(simulation.play(), loop=loop)
        played = time.process_time()
        recording = simulation.recording()
        recording.checks.extend(simulation.judge(recording))
        result = Result(recording)
        recording.checks[:0] = judge_thresholds(result, scenario.thresholds)
        judged = time.process_time()
        asked = what_is_asked(scenario, recording.facts.duration, real_io=False)
        recording.checks[len(scenario.thresholds) : len(scenario.thresholds)] = judge_health(recording, asked)
        healthy = time.process_time()
        render(result, Console(file=io.StringIO(), width=100))
        result.timeline(max(result.facts.duration / 100, 1e-3))
        summarised = time.process_time()
    return Cost(len(recording.jobs), played - began, judged - played, healthy - judged, summarised - healthy)


def _cheapest(name: str, count: int, rounds: int) -> Cost:
    measure(FEATURES[name](200))  # imports and caches
    costs = [measure(FEATURES[name](count)) for _ in range(rounds)]
    return Cost(costs[0].jobs, *(min(getattr(cost, phase) for cost in costs) for phase in PHASES))


def cost_of(name: str, count: int, rounds: int) -> Cost:
    """Measure in a process of its own: what one run leaves in memory slows no other one down."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_cheapest, name, count, rounds).result()


# -- the report


def rows(name: str, costs: Sequence[Cost]) -> list[str]:
    """A row a phase."""
    lines = []
    for phase in PHASES:
        each = [cost.each(phase) for cost in costs]
        ratios = [later / earlier for earlier, later in itertools.pairwise(each)]
        cells = [f"{value:.1f}" for value in each] + [
            f"**{ratio:.2f}**" if ratio > MOST_GROWTH and max(each) >= SLIGHT else f"{ratio:.2f}" for ratio in ratios
        ]
        lines.append(f"| {name} | {phase} | {' | '.join(cells)} |")
    return lines


def table(names: Sequence[str], sizes: Sequence[int], rounds: int) -> tuple[str, float]:
    """The table, and the greatest ratio in it."""
    head = [f"{size:,}" for size in sizes] + [f"{b:,} / {a:,}" for a, b in itertools.pairwise(sizes)]
    lines = [f"| feature | phase | {' | '.join(head)} |", f"|---|---|{'---:|' * len(head)}"]
    worst = 0.0
    for name in names:
        costs = [cost_of(name, size, rounds) for size in sizes]
        lines += rows(name, costs)
        print("\n".join(lines[-len(PHASES) :]), file=sys.stderr, flush=True)
        for phase in PHASES:
            each = [cost.each(phase) for cost in costs]
            if max(each) < SLIGHT:
                continue
            worst = max([worst, *(later / earlier for earlier, later in itertools.pairwise(each))])
    return "\n".join(lines), worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="*", metavar="FEATURE", help=f"of {', '.join(FEATURES)}; all if left out")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="JOBS")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each, of which the cheapest counts")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.features) - set(FEATURES):
        parser.error(f"no feature {', '.join(sorted(unknown))}: choose from {', '.join(FEATURES)}")
    made, worst = table(arguments.features or list(FEATURES), arguments.sizes, arguments.rounds)
    text = (
        "Made by `python -m benchmarks.growth -o reports/growth.md` with Python "
        f"{platform.python_version()}, {os.cpu_count()} cores. The figures are microseconds of processor time per job, "
        f"the least of {arguments.rounds} runs. Each feature and size has its own process. *play* is the simulation, "
        "*judge* the oracles and thresholds, *health* the health checks, *summarise* the frames, the summary in the "
        "terminal and a timeline of 100 bins. The last columns are ratios from one size to the next. The target is at "
        f"most {MOST_GROWTH}, where a job costs {SLIGHT} or more. The greatest ratio is {worst:.2f}.\n\n{made}\n"
    )
    print(text)
    if arguments.output:
        write_section(arguments.output, "Cost of a job", text, TITLE)
