"""How long a notebook waits: the seed scenario in a fresh kernel, and frames and pictures of a large result.

    python -m benchmarks.notebook -o reports/notebook.md
    python -m benchmarks.notebook --jobs 100000 --rounds 1

A kernel's first start after an installation compiles queuesim's modules to bytecode and lets matplotlib look for fonts,
both once and for all. It is measured by itself, with a copy of the modules that was never imported and an empty cache
of fonts, and then the starts after it. Other work on a machine can only make a run slower, so the best round counts,
and the processor time stands beside each. Frames are given as a share of the simulation that ran right before them.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mm5 import ARRIVAL_RATE, MEAN_SERVICE, SERVERS

ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "scenarios" / "task-processing.yaml"
CELL = f"""
import time
began = time.process_time()
import queuesim
result = queuesim.run({str(SCENARIO)!r})
axes = result.plot.overview()
"""


@dataclass(frozen=True)
class Span:
    """Seconds, and those of them that the processor worked for it."""

    seconds: float
    processor: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s (processor time {self.processor:.1f} s)"


def installed(folder: Path) -> dict[str, str]:
    """The environment of a user who has just installed queuesim: no bytecode of it yet, and no cache of fonts."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "MPLCONFIGDIR": str(folder / "matplotlib")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def fresh_kernel(environment: dict[str, str]) -> Span:
    """From sending the cell to a kernel that has just started until its picture is there, imports included."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", env=environment)
    try:
        began = time.perf_counter()
        shown = shown_by(client, CELL)
        seconds = time.perf_counter() - began
        if not any("image/png" in output for output in shown):
            raise RuntimeError("the cell showed no picture")
        spent = shown_by(client, "time.process_time() - began")
        return Span(seconds, float(spent[0]["text/plain"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def shown_by(client: Any, cell: str) -> list[dict[str, str]]:
    """What a cell shows, each thing by its MIME types."""
    client.execute(cell)
    shown = []
    while True:
        message = client.get_iopub_msg(timeout=120)
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            raise RuntimeError(content["evalue"])
        if kind in ("execute_result", "display_data"):
            shown.append(content["data"])
        if kind == "status" and content["execution_state"] == "idle":
            return shown


@dataclass(frozen=True)
class Large:
    """What a result of many jobs takes."""

    jobs: int
    simulated: Span
    frames: Span
    written: Span
    opened: Span
    drawn: Span
    overview: Span
    megabytes: float


class Watch:
    """A stop watch: the span since it was last asked."""

    def __init__(self) -> None:
        self._last = self._now()

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def lap(self) -> Span:
        """The span since the last one."""
        before, self._last = self._last, self._now()
        return Span(self._last[0] - before[0], self._last[1] - before[1])


def large(jobs: int) -> Large:
    """Simulate so many jobs of M/M/5, build all frames, write them, open them again and draw."""
    from matplotlib import use
    from matplotlib.figure import Figure

    from queuesim.results.frames import FRAMES
    from queuesim.results.result import Result, load
    from queuesim.runs.virtual.engine import record
    from queuesim.scenario.model import Scenario

    use("agg")
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
    watch = Watch()
    recording = record(scenario, seed=1)
    simulated = watch.lap()
    result = Result(recording)
    for name in FRAMES:
        getattr(result, name)
    frames = watch.lap()
    with tempfile.TemporaryDirectory() as folder:
        watch.lap()
        result.to_parquet(folder)
        written = watch.lap()
        megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        del result, recording
        watch.lap()
        again = load(folder)
        opened = watch.lap()
        figure = Figure(figsize=(9, 5))
        again.plot.backlog_and_throughput(figure.subplots())
        figure.savefig(Path(folder) / "one.png")
        drawn = watch.lap()
        figure = Figure(figsize=(16, 10))
        again.plot.overview(figure)
        figure.savefig(Path(folder) / "overview.png")
        return Large(len(again.jobs), simulated, frames, written, opened, drawn, watch.lap(), megabytes)


def page(first: Span, later: list[Span], big: Large) -> str:
    """The report."""
    best = min(later, key=lambda span: span.seconds)
    told = ", ".join(f"{span.seconds:.1f}" for span in later)
    least = min(span.processor for span in later)
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores shared with other work"
    share = big.frames.processor / big.simulated.processor
    return (
        "# Waiting times in a notebook\n\n"
        f"Made by `python -m benchmarks.notebook -o reports/notebook.md` on {machine}.\n"
        "Other work can only make a round slower, so the best of several rounds counts. Processor time is shown beside "
        "it.\n\n"
        "| | target | measured |\n|---|---|---|\n"
        "| seed scenario, simulated and plotted in a fresh kernel, imports included | < 5 s "
        f"| {best.seconds:.1f} s (rounds: {told}; processor time {least:.1f} s) |\n"
        f"| the first start after an installation, which creates bytecode and the font cache | | {first} |\n"
        f"| frames of a result of {big.jobs:,} jobs, as a share of the simulation's processor time | ≤ 0.3 "
        f"| {share:.3f} ({big.frames.processor:.1f} s of {big.simulated.processor:.1f} s) |\n"
        f"| opening that result from Parquet ({big.megabytes:.0f} MB) | seconds | {big.opened} |\n"
        f"| drawing its backlog and throughput | seconds | {big.drawn} |\n"
        f"| drawing its overview of four panels after that | seconds | {big.overview} |\n"
        f"| writing it to Parquet | | {big.written} |\n"
    )


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="of the large result (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="starts of a kernel (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="the file to write; without it the page is printed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = installed(Path(folder))
        first = fresh_kernel(environment)
        later = [fresh_kernel(environment) for _ in range(asked.rounds)]
    text = page(first, later, large(asked.jobs))
    if asked.output is None:
        sys.stdout.write(text)
    else:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
