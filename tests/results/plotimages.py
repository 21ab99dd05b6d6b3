"""Reference images of the plots, small ones: ``python tests/results/plotimages.py`` draws them again.

The runs are written by hand, so that nothing but a change of the plots changes the pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from metrics_script import NAN, Script

from queuesim.results.plots.comparison import heat_map, overlay
from queuesim.results.recording import FaultRow, ScanRow
from queuesim.results.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = Path(__file__).parent / "images"
DATABASE = ("DatabaseError", "Database", True)
NETWORK = ("NetworkError", "Network", True)
INVALID = ("ValidationError", "Validation", False)


def day(slots: int = 2) -> Result:
    """Ten minutes of 130 jobs, 30 of which came at once, with retries, a limiter, faults, and a scan."""
    script = Script(600.0, warmup=30.0, limiter=(20, 60.0), concurrency=slots)
    rng = np.random.default_rng(7)
    arrivals = [(4.0 * i, "mail") for i in range(100)] + [(200.0, "overdue-note")] * 30
    free = [0.0] * slots
    for number, (arrival, name) in enumerate(sorted(arrivals)):
        job = script.job(arrival, name=name, load="batch" if name != "mail" else "steady")
        slot = int(np.argmin(free))
        start = max(arrival, free[slot])
        spent = float(rng.gamma(2.0, 2.0))
        free[slot] = start + spent
        if number % 9 == 4:
            error = (DATABASE, NETWORK, DATABASE)[number % 3]
            script.attempt(job, start, start + spent, "retried", error=error, backoff=5.0, slot=slot)
            again = start + spent + 5.0
            script.attempt(job, again, again + 1.0, slot=slot)
        elif number % 25 == 7:
            script.attempt(job, start, start + spent, "failed", error=INVALID, slot=slot)
        else:
            script.attempt(job, start, start + spent, slot=slot)
    for opened in range(0, 600, 60):
        script.window(opened, opened + 60, 20)
    script.faults += [FaultRow("redis.outage", "", 300.0, 360.0), FaultRow("worker.crash", "w1", 450.0, 450.0)]
    script.scans.append(ScanRow(1, "cron", 200.0, 201.0, 1, 30, 30, 0, NAN))
    return Result(script.recording())


def sweep_frame() -> pd.DataFrame:
    """A sweep's frame, made up."""
    rows = [(c, m, 0.1 * m / c**2) for c in (1, 2, 5, 10) for m in (50, 100, 200)]
    return pd.DataFrame(rows, columns=["workers.concurrency", "load", "latency.p95"])


PICTURES: dict[str, Callable[[Axes], object]] = {
    "throughput": lambda ax: day().plot.throughput(ax),
    "backlog": lambda ax: day().plot.backlog(ax),
    "backlog-and-throughput": lambda ax: day().plot.backlog_and_throughput(ax),
    "latency-over-time": lambda ax: day().plot.latency_over_time(ax, every="30s"),
    "latency-distribution": lambda ax: day().plot.latency_distribution(ax),
    "attempts": lambda ax: day().plot.attempts(ax),
    "retry-waterfall": lambda ax: day().plot.retry_waterfall(ax),
    "gantt": lambda ax: day().plot.gantt(ax, start=190.0, end=320.0),
    "limiter-windows": lambda ax: day().plot.limiter_windows(ax),
    "overdue-batches": lambda ax: day().plot.overdue_batches(ax),
    "heat-map": lambda ax: heat_map(sweep_frame(), "load", "workers.concurrency", "latency.p95", ax),
    "overlay": lambda ax: overlay({"2 slots": day(), "3 slots": day(3)}, "backlog", ax, every="10s"),
}
"""Every plot, by the name of its image."""


def draw(name: str) -> Figure:
    """One of PICTURES, without a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=50, layout="constrained")
    PICTURES[name](figure.subplots())
    return figure


def main() -> None:
    """Write all reference images."""
    IMAGES.mkdir(exist_ok=True)
    for name in PICTURES:
        draw(name).savefig(IMAGES / f"{name}.png", metadata={"Software": None})
        sys.stderr.write(f"{IMAGES / name}.png\n")


if __name__ == "__main__":
    main()
