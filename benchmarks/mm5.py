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
from typing import TYPE_CHECKING, Any

from benchmarks.sections import write_section

if TYPE_CHECKING:
    from queuesim.results.recording import Recording
    from queuesim.scenario.model import Scenario

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


def compiled(jobs: int) -> float:
    """The same recording by the compiled engine, from the scenario until its frames could be asked for."""
    from queuesim.runs.compiled.engine import CompiledRun

    scenario = _scenario(jobs)
    _compiled_result(SMALL)  # what is compiled, or loaded from the cache, once
    before = time.perf_counter()
    run = CompiledRun(scenario, seed=1)
    run.play()
    recording = run.recording(0.0, "")
    return len(recording.jobs) / (time.perf_counter() - before)


def compiled_judged(jobs: int) -> float:
    """The same with the verdicts of all oracles and health checks, all frames and the summary."""
    _compiled_result(SMALL)
    before = time.perf_counter()
    return _compiled_result(jobs) / (time.perf_counter() - before)


def limited(jobs: int) -> float:
    """The compiled engine with a limiter, retries with jitter and three priorities."""
    from queuesim.runs.compiled.engine import CompiledRun

    types = {
        f"job{i}": {
            "service": {"exponential": MEAN_SERVICE},
            "priority": i,
            "errors": {"network": 0.05},
            "backoff": {"type": "exponential", "delay": 1.0, "jitter": 0.5},
            "attempts": 3,
        }
        for i in range(3)
    }
    changes = {"jobs": types, "workers": {"concurrency": SERVERS, "limiter": {"max": 45, "duration": 10.0}}}
    _compiled_result(SMALL)
    before = time.perf_counter()
    run = CompiledRun(_scenario(jobs, **changes), seed=1)
    run.play()
    recording = run.recording(0.0, "")
    return len(recording.jobs) / (time.perf_counter() - before)


def first_call() -> dict[str, float]:
    """Seconds of the first small run in a process, with numba's cache warm: the import of numba included."""
    import queuesim as package

    _scenario(SMALL)
    before = time.perf_counter()
    package.run(_scenario(SMALL), engine="compiled")
    return {"seconds": time.perf_counter() - before}


def _compiled_result(jobs: int) -> int:
    import queuesim as package

    result = package.run(_scenario(jobs), seed=1, engine="compiled")
    frames = (result.jobs, result.attempts, result.events, result.limiter, result.checks)
    result.summary()
    return len(frames[0])


def _record(jobs: int) -> Recording:
    from queuesim.runs.virtual.engine import record

    return record(_scenario(jobs), seed=1)


def _scenario(count: int, **changes: Any) -> Scenario:
    from queuesim.scenario.model import Scenario

    return Scenario.model_validate(
        {
            "name": "M/M/5",
            "duration": count / ARRIVAL_RATE,
            "queue": {"keep": {"completed": 100, "failed": 50}},
            "workers": {"concurrency": SERVERS},
            "jobs": {"job": {"service": {"exponential": MEAN_SERVICE}}},
            "load": [{"name": "poisson", "poisson": {"rate": ARRIVAL_RATE}}],
            **changes,
        }
    )


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
COMPILED: dict[str, Callable[[int], float]] = {
    "compiled": compiled,
    "compiled judged": compiled_judged,
    "limited": limited,
}
"""What is measured with LARGE jobs."""


def measure_memory(jobs: int, contender: Callable[[int], float]) -> dict[str, float]:
    """Resident memory that a run adds, at its peak and with all frames built, in bytes a job."""
    import psutil

    contender(SMALL)  # whatever is loaded or cached once does not count
    process = psutil.Process()
    before = process.memory_info().rss
    speed = contender(jobs)
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
        for name in COMPILED:
            speed = _in_process("--only", name, "--jobs", str(LARGE))["jobs_per_second"]
            best[name] = max(best.get(name, 0.0), speed)
    return best


def report(
    best: dict[str, float], small: float, large: dict[str, float], compact: dict[str, float], first: float
) -> str:
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
        "",
        "| compiled engine, 1 000 000 jobs | jobs/s | this / Ciw |",
        "|---|---:|---:|",
        f"| everything recorded | {best['compiled']:,.0f} | {best['compiled'] / best['ciw']:.1f} |",
        f"| judged and summarised, frames made | {best['compiled judged']:,.0f} "
        f"| {best['compiled judged'] / best['ciw']:.1f} |",
        f"| limiter, retries and priorities, recorded | {best['limited']:,.0f} | {best['limited'] / best['ciw']:.1f} |",
        "",
        f"Memory at its peak: {compact['bytes_a_job']:.0f} bytes a job. "
        f"First call with a warm cache: {first:.2f} s, the import of numba included.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=[*CONTENDERS, *COMPILED])
    parser.add_argument("--memory", choices=["queuesim", "compiled"])
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    contenders = CONTENDERS | COMPILED
    if arguments.first:
        print(json.dumps(first_call()))
        return
    if arguments.memory:
        print(json.dumps(measure_memory(arguments.jobs, contenders[arguments.memory])))
        return
    if arguments.only:
        print(json.dumps({"jobs_per_second": contenders[arguments.only](arguments.jobs)}))
        return
    best = race(arguments.rounds)
    small = max(_in_process("--only", "queuesim", "--jobs", str(SMALL))["jobs_per_second"] for _ in range(5))
    runs = [_in_process("--memory", "queuesim", "--jobs", str(LARGE)) for _ in range(2)]
    compact = _in_process("--memory", "compiled", "--jobs", str(LARGE))
    first = min(_in_process("--first")["seconds"] for _ in range(5))
    large = max(runs, key=lambda run: run["jobs_per_second"])
    text = (
        f"Made by `python -m benchmarks.mm5 -o reports/benchmarks.md` with Python {platform.python_version()}, "
        f"{os.cpu_count()} cores; the best of {arguments.rounds} rounds.\n\n"
        + report(best, small, large, compact, first)
    )
    if arguments.output:
        write_section(arguments.output, "M/M/5 in virtual time", text)
    print(text)


if __name__ == "__main__":
    main()
