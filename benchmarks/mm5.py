"""Speed on M/M/5: the whole processor with all frames recorded, beside Ciw's bare M/M/5 and raw SimPy.

    python -m benchmarks.mm5 -o reports/benchmarks.md

Every contender runs the same work, arrivals at 4/s and a mean service time of 1 s on 5 servers, in a process of its
own, and they take turns; the best of the rounds counts, for a shared machine can only make a run slower.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sections import write_section

if TYPE_CHECKING:
    from queuesim.results.recording import Recording

ARRIVAL_RATE, MEAN_SERVICE, SERVERS = 4.0, 1.0, 5
JOBS = 100_000
LARGE, SMALL = 1_000_000, 10_000


def queuesim(jobs: int) -> float:
    """The whole processor under BullMQ's rules, by a scenario, until its frames could be asked for."""
    recording = _record(jobs)
    return len(recording.jobs) / recording.facts.wall


def judged(jobs: int) -> float:
    """The same, with the verdicts of all oracles."""
    before = time.perf_counter()
    recording = _record(jobs)
    return len(recording.jobs) / (time.perf_counter() - before)


def _record(jobs: int) -> Recording:
    from queuesim.runs.virtual.engine import record
    from queuesim.scenario.model import Scenario

    scenario = Scenario.model_validate(
        {
            "name": "M/M/5",
            "duration": jobs / ARRIVAL_RATE,
            "queue": {"keep": {"completed": 100, "failed": 50}},
            "workers": {"concurrency": SERVERS},
            "jobs": {"job": {"service": {"exponential": MEAN_SERVICE}}},
            "load": [{"name": "poisson", "poisson": {"rate": ARRIVAL_RATE}}],
        }
    )
    return record(scenario, seed=1)


def ciw(jobs: int) -> float:
    """Ciw's M/M/5: no retries, locks, limiter or events."""
    import ciw

    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(ARRIVAL_RATE)],
        service_distributions=[ciw.dists.Exponential(1 / MEAN_SERVICE)],
        number_of_servers=[SERVERS],
    )
    ciw.seed(1)
    before = time.perf_counter()
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(jobs / ARRIVAL_RATE)
    took = time.perf_counter() - before
    return len(simulation.nodes[-1].all_individuals) / took


def simpy(jobs: int) -> float:
    """Raw SimPy with a Resource: the floor that a bare model has."""
    import simpy

    rng = random.Random(1)
    env = simpy.Environment()
    servers = simpy.Resource(env, SERVERS)
    waits = []

    def job() -> object:
        arrived = env.now
        with servers.request() as request:
            yield request
            waits.append(env.now - arrived)
            yield env.timeout(rng.expovariate(1 / MEAN_SERVICE))

    def source() -> object:
        for _ in range(jobs):
            yield env.timeout(rng.expovariate(ARRIVAL_RATE))
            env.process(job())  # type: ignore[arg-type]

    env.process(source())  # type: ignore[arg-type]
    before = time.perf_counter()
    env.run()
    return len(waits) / (time.perf_counter() - before)


CONTENDERS: dict[str, Callable[[int], float]] = {"queuesim": queuesim, "judged": judged, "ciw": ciw, "simpy": simpy}


def measure_memory(jobs: int) -> dict[str, float]:
    """Resident memory that a run adds, at its peak and with all frames built, in bytes a job."""
    import psutil

    queuesim(SMALL)  # whatever is loaded or cached once does not count
    process = psutil.Process()
    before = process.memory_info().rss
    speed = queuesim(jobs)
    peak = _peak() - before
    return {"jobs_per_second": speed, "bytes_a_job": peak / jobs}


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the peak of a process's memory")


def _in_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.mm5", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def race(rounds: int) -> dict[str, float]:
    """The best of several rounds of each contender, in jobs/s."""
    best = dict.fromkeys(CONTENDERS, 0.0)
    for _ in range(rounds):
        for name in CONTENDERS:
            best[name] = max(best[name], _in_process("--only", name, "--jobs", str(JOBS))["jobs_per_second"])
    return best


def report(best: dict[str, float], small: float, large: dict[str, float]) -> str:
    """The table, as Markdown."""
    rows = [
        ("queuesim, the whole processor", best["queuesim"], 1.0),
        ("queuesim, with its oracles", best["judged"], best["queuesim"] / best["judged"]),
        ("Ciw, bare M/M/5", best["ciw"], best["queuesim"] / best["ciw"]),
        ("raw SimPy, a Resource", best["simpy"], best["queuesim"] / best["simpy"]),
    ]
    lines = ["| M/M/5, 100 000 jobs | jobs/s | queuesim / this |", "|---|---:|---:|"]
    lines += [f"| {name} | {speed:,.0f} | {ratio:.2f} |" for name, speed, ratio in rows]
    lines += [
        "",
        "| queuesim | jobs/s | bytes per job |",
        "|---|---:|---:|",
        f"| 10 000 jobs | {small:,.0f} | |",
        f"| 1 000 000 jobs | {large['jobs_per_second']:,.0f} | {large['bytes_a_job']:.0f} |",
        f"| ratio | {large['jobs_per_second'] / small:.2f} | |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(measure_memory(arguments.jobs)))
        return
    if arguments.only:
        print(json.dumps({"jobs_per_second": CONTENDERS[arguments.only](arguments.jobs)}))
        return
    best = race(arguments.rounds)
    small = max(_in_process("--only", "queuesim", "--jobs", str(SMALL))["jobs_per_second"] for _ in range(5))
    runs = [_in_process("--memory", "--jobs", str(LARGE)) for _ in range(2)]
    large = max(runs, key=lambda run: run["jobs_per_second"])
    text = (
        f"Made by `python -m benchmarks.mm5 -o reports/benchmarks.md` with Python {platform.python_version()}, "
        f"{os.cpu_count()} cores; the best of {arguments.rounds} rounds.\n\n" + report(best, small, large)
    )
    if arguments.output:
        write_section(arguments.output, "M/M/5 in virtual time", text)
    print(text)


if __name__ == "__main__":
    main()
