"""How long a notebook waits: the seed scenario simulated and plotted in a fresh kernel, and frames of a large result.

    python -m benchmarks.notebook -o reports/notebook.md
    python -m benchmarks.notebook --jobs 100000 --rounds 1

A shared machine can only make a run slower, so the best round counts, and the processor time of the kernel's process is
given beside it; frames are given as a share of the simulation that ran right before them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.mm5 import ARRIVAL_RATE, MEAN_SERVICE, SERVERS

SCENARIO = Path(__file__).parents[1] / "scenarios" / "task-processing.yaml"
CELL = f"""
import queuesim
result = queuesim.run({str(SCENARIO)!r})
axes = result.plot.overview()
import time
time.process_time()
"""


def fresh_kernel() -> tuple[float, float]:
    """Seconds from sending the cell to a kernel that has just started until its picture is there, imports included; and
    the processor time that the kernel has taken until the cell was over, its own start included."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        began, shown, spent = time.perf_counter(), False, 0.0
        client.execute(CELL)
        while True:
            message = client.get_iopub_msg(timeout=120)
            if message["msg_type"] == "error":
                raise RuntimeError(message["content"]["evalue"])
            shown |= "image/png" in message["content"].get("data", {})
            if message["msg_type"] == "execute_result":
                spent = float(message["content"]["data"]["text/plain"])
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        if not shown:
            raise RuntimeError("the cell showed no picture")
        return time.perf_counter() - began, spent
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def frames(jobs: int) -> tuple[float, float]:
    """Seconds to simulate so many jobs of M/M/5, and to build all frames of the result."""
    from queuesim.metrics.result import Result
    from queuesim.scenario.runner import record
    from queuesim.scenario.schema import Scenario

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
    began = time.perf_counter()
    recording = record(scenario, seed=1)
    simulated = time.perf_counter()
    result = Result(recording)
    for name in ("jobs", "attempts", "limiter", "events", "overdue", "faults"):
        getattr(result, name)
    return simulated - began, time.perf_counter() - simulated


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    kernels = [fresh_kernel() for _ in range(asked.rounds)]
    pairs = [frames(asked.jobs) for _ in range(max(1, asked.rounds // 2))]
    shares = [built / simulated for simulated, built in pairs]
    told = ", ".join(f"{seconds:.1f}" for seconds, _ in kernels)
    best = min(seconds for seconds, _ in kernels)
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores shared with other work"
    page = (
        "# What a notebook waits for\n\n"
        f"Made by `python -m benchmarks.notebook -o reports/notebook.md` on {machine}.\n\n"
        "| | asked for | measured |\n|---|---|---|\n"
        f"| seed scenario, simulated and plotted in a fresh kernel, imports included | < 5 s | {best:.1f} s"
        f" (rounds: {told}; processor time {min(cpu for _, cpu in kernels):.1f} s) |\n"
        f"| frames of a result of {asked.jobs:,} jobs, as a share of the simulation's time | ≤ 0.3 | {min(shares):.3f}"
        f" ({pairs[0][1]:.1f} s of {pairs[0][0]:.1f} s) |\n"
    )
    if asked.output is None:
        sys.stdout.write(page)
    else:
        asked.output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
