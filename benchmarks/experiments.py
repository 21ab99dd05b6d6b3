"""How fast experiments are played: in this process, in two processes, on a Dask cluster; and what a task costs.

    python -m benchmarks.experiments -o reports/experiments.md

Needs the extras `fast` and `dask`, and two idle cores.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.sections import write_section

from queuesim.experiments.dask_cluster import Dask
from queuesim.experiments.executor import Executor, InProcess, Processes
from queuesim.experiments.figures import STANDARD
from queuesim.experiments.sweep import MEASURED
from queuesim.experiments.task import Task, play, seeds_of, tasks_of
from queuesim.scenario.loading import as_scenario

TITLE = (
    "# Experiments\n\nThe speed of experiments on one and more processes, and what intervals and recommendations are "
    "worth.\n"
)
RUNS = 64
"""Runs of a sweep."""
SMALL = 400
"""Runs of next to nothing, to see what an executor adds to each."""


def steady(jobs: int, own: bool = False) -> dict[str, Any]:
    """M/M/5 with about so many jobs; with a fault, so that the virtual loop plays it."""
    seconds = jobs / 4
    faults = [{"worker.crash": {"at": f"{seconds / 2}s"}}] if own else []
    return {
        "name": "m-m-5",
        "duration": seconds,
        "warmup": seconds / 20,
        "workers": {"concurrency": 5},
        "jobs": {"job": {"service": {"exponential": "1s"}}},
        "load": [{"name": "users", "poisson": "4/s"}],
        "faults": faults,
        "thresholds": ["waiting.p95 < 10s", "lost == 0"],
    }


def tasks(scenario: dict[str, Any], count: int, names: Sequence[str] = MEASURED) -> list[Task]:
    return tasks_of(as_scenario(scenario), seeds_of(1, count), names, runs=count)


def seconds(executor: Executor, wanted: Sequence[Task], rounds: int) -> float:
    """The least time in which the executor plays the tasks, once it is warm."""
    list(executor.play(wanted[: 2 * executor.count]))
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        list(executor.play(wanted))
        best = min(best, time.perf_counter() - began)
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the report to write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args(arguments)
    # as docs/scale.md has it: the profiler takes a fifth of the workers' time
    os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
    from distributed import LocalCluster

    with (
        Processes(2) as two,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Dask(cluster.scheduler_address, timeout=60) as dask,
    ):
        lines = [
            "| runs | this process | 2 processes | ratio | Dask, 2 workers | ratio |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        kinds = {
            "10,000 jobs, compiled": steady(10_000),
            "2,000 jobs, compiled": steady(2_000),
            "4,000 jobs, virtual loop": steady(4_000, own=True),
        }
        for name, scenario in kinds.items():
            wanted = tasks(scenario, given.runs)
            here, there, away = (seconds(each, wanted, given.rounds) for each in (InProcess(), two, dask))
            lines.append(
                f"| {given.runs} of {name} | {here:.2f} s | {there:.2f} s | {here / there:.2f} | {away:.2f} s | "
                f"{here / away:.2f} |"
            )
        tiny = tasks(steady(8), SMALL)
        here, there, away = (seconds(each, tiny, given.rounds) / SMALL for each in (InProcess(), two, dask))
    measured = play(tiny[0])
    whole = play(tasks(steady(10_000), 1, STANDARD)[0])
    lines += [
        "",
        f"A run of next to nothing takes {here * 1e3:.1f} ms in this process, {there * 1e3:.1f} ms on two processes "
        f"and {away * 1e3:.1f} ms on two workers of a cluster, playing and judging included. A task that is sent has "
        f"{len(pickle.dumps(tiny[0])):,} bytes; what comes back has {len(pickle.dumps(measured)):,}, and "
        f"{len(pickle.dumps(whole)):,} with all {len(STANDARD)} figures.",
    ]
    head = (
        f"Made by `python -m benchmarks.experiments --rounds {given.rounds} --runs {given.runs}` with Python "
        f"{platform.python_version()} on {os.cpu_count()} cores: the least of {given.rounds} times, processes and "
        "workers started and warm."
    )
    text = "\n".join([head, "", *lines])
    print(text)
    if given.output is not None:
        write_section(given.output, "Executors", text, TITLE)


if __name__ == "__main__":
    main()
