"""The plots as a stranger sees them: before a change and after it, side by side.

    python -m benchmarks.pictures --draw /tmp/before        # on the old commit
    python -m benchmarks.pictures --before /tmp/before -o reports/pictures.md

Every plot is drawn of runs of different kinds: a usual day, scans for overdue tasks, faults, a burst that dwarfs the
rest of its day, two runs beside each other, a sweep, and a short run through Redis' scripts as one has it live.
Takes a minute.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

import queuesim
from queuesim import Result
from queuesim.results.plots import heat_map, overlay
from queuesim.results.views import html
from queuesim.scenario.loading import parse_scenario

ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "scenarios"
SIZE = getattr(html, "PICTURE", (9.0, 4.2))
"""Inches of a plot in a report."""
PIXELS = 440
"""Width of a picture in the page."""
LOOKS = (("", PIXELS, False), ("phone", 330, False), ("print", PIXELS, True))
"""How a picture is shown: at its usual size, as wide as a phone, printed in grey."""
CLOSER = ("latency distribution", "throughput")
"""Plots that are shown in all three ways."""
COLOURS = 40
"""Of the palette of a stored picture."""
TITLE = """# The plots before and after

Made by `python -m benchmarks.pictures --before DIR -o reports/pictures.md`, where `--draw DIR` drew those of the older
commit. Left: before; right: after. The question for each was what a stranger takes from it: the title is the finding,
in the unit of the axis; names stand at the data; a maximum is the highest value and not the highest average; one burst
does not flatten a day; a skewed quantity has a logarithmic scale; usual outcomes are pale, so that the others stand
out; it can be read on a phone and in grey.
"""

FAULTY = """
name: a bad morning
seed: 3
duration: 2h
warmup: 10m
drain: 30m
queue: {name: mail, attempts: 4, backoff: {type: exponential, delay: 2s}}
workers: {count: 2, concurrency: 5}
jobs:
  mail: {weight: 3, service: {lognormal: {mean: 2s, p95: 6s}}, errors: {network: 3%, validation: 0.5%}}
  digest: {weight: 1, service: {gamma: {mean: 4s, cv: 0.6}}, errors: {database: 2%}}
load:
  - {name: users, poisson: {rate: 150/min}}
faults:
  - {redis.outage: {at: 30m, for: 3m}}
  - {worker.crash: {every: {exponential: 15m}}}
  - {handler.error: {at: 70m, for: 10m, probability: 60%, category: database}}
"""
BURST = """
name: a day with one burst
seed: 5
duration: 24h
queue: {name: mail, attempts: 3, backoff: {type: exponential, delay: 2s}}
workers: {count: 1, concurrency: 5}
jobs:
  mail: {service: {lognormal: {mean: 1s, p95: 3s}}, errors: {network: 1%}}
load:
  - {name: users, poisson: {rate: 30/min}}
  - {name: campaign, bulk: {every: 24h, offset: 13h, size: 8000}, jobs: mail}
"""


@cache
def run(scenario: str, backend: str = "sim", seed: int | None = None) -> Result:
    """A run of a scenario, the text of one or the name of a file."""
    source: Any = parse_scenario(scenario) if "\n" in scenario else SCENARIOS / f"{scenario}.yaml"
    return queuesim.run(source, backend=backend, seed=seed, progress=False)


def sweep_frame() -> pd.DataFrame:
    """A sweep of a skewed quantity: waiting rises from milliseconds to hours where the load passes the capacity."""
    from queuesim.experiments.sweep import sweep

    axes = {"workers.limiter.max": [5, 10, 20, 40], "workers.concurrency": [1, 2, 5]}
    return sweep(SCENARIOS / "bullmq-limited.yaml", axes, progress=False)


def named(result: Result) -> Iterator[tuple[str, Callable[..., object]]]:
    plot = result.plot
    for name in ("throughput", "backlog", "latency_over_time", "latency_distribution", "attempts", "retry_waterfall",
                 "limiter_windows", "overdue_batches", "gantt"):  # fmt: skip
        yield name.replace("_", " "), getattr(plot, name)


def pictures() -> Iterator[tuple[str, str, Callable[..., object]]]:
    """Of each picture: the run, the plot, and what draws it into axes."""
    day, other = run("task-processing"), run("task-processing", seed=7)
    for name, draw in named(day):
        yield "a usual day", name, draw
    for name, draw in named(run(FAULTY)):
        if not name.startswith(("limiter", "overdue")):
            yield "faults", name, draw
    burst = run(BURST)
    for name, draw in named(burst):
        if name in ("throughput", "backlog", "latency over time", "overdue batches"):
            yield "one burst", name, draw
    overdue = run("overdue-two-schedulers")
    for name, draw in named(overdue):
        if name in ("backlog", "overdue batches", "latency over time", "gantt"):
            yield "overdue scans", name, draw
    live = run("bullmq-overdue-burst", backend="fakeredis")
    for name, draw in named(live):
        if name in ("throughput", "backlog", "limiter windows", "gantt"):
            yield "a live-like minute", name, draw
    for what in ("backlog", "latency_p95", "utilisation"):
        yield "two runs", what, lambda ax, what=what: overlay({"seed 42": day, "seed 7": other}, what, ax)
    frame = sweep_frame()
    for value in ("waiting.p95", "utilisation"):
        yield (
            "a sweep",
            value,
            lambda ax, value=value: heat_map(frame, "workers.limiter.max", "workers.concurrency", value, ax),
        )


def draw_all(folder: Path) -> None:
    """Draw every picture into a folder, in the size that it has in a report."""
    folder.mkdir(parents=True, exist_ok=True)
    for group, name, draw in pictures():
        figure = Figure(figsize=SIZE, layout="constrained")
        draw(figure.subplots())
        figure.savefig(folder / f"{group} - {name}.png".replace(" ", "_"), dpi=2 * PIXELS / SIZE[0])


def scaled(path: Path, width: int) -> Image.Image:
    with Image.open(path) as picture:
        height = round(picture.height * width / picture.width)
        return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def pair(before: Path, after: Path, width: int, grey: bool = False) -> Image.Image:
    """Two pictures beside each other."""
    left, right = (scaled(path, width) for path in (before, after))
    both = Image.new("RGB", (2 * width + 8, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (width + 8, 0))
    return both.convert("L" if grey else "RGB").quantize(COLOURS)


def write_page(before: Path, after: Path, page: Path) -> None:
    """The page, and its pictures in a folder of its name."""
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    lines = [TITLE]
    for path in sorted(before.glob("*.png")):
        if not (after / path.name).exists():
            continue
        group, _, name = path.stem.replace("_", " ").partition(" - ")
        lines += [f"## {group}: {name}", ""]
        for label, width, grey in LOOKS[: 3 if name in CLOSER else 1]:
            file = folder / f"{path.stem.replace('_-_', '-')}{label and '-'}{label}.png"
            pair(path, after / path.name, width, grey).save(file, optimize=True)
            lines += [
                *([f"{label}:", ""] if label else []),
                f"![{group}, {name}: before and after]({folder.name}/{file.name})",
                "",
            ]
    page.write_text("\n".join(lines).rstrip() + "\n")


def main() -> None:
    """Draw the pictures, or compare them with those of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=Path, help="draw every picture into this folder")
    parser.add_argument("--before", type=Path, help="a folder that --draw filled before the change")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "reports" / "pictures.md")
    args = parser.parse_args()
    if args.draw:
        draw_all(args.draw)
    if args.before:
        with tempfile.TemporaryDirectory() as after:
            draw_all(Path(after))
            write_page(args.before, Path(after), args.output)


if __name__ == "__main__":
    main()
