"""The retry waterfall: what becomes of the jobs whose first attempt fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.plots import canvas
from queuesim.metrics.rows import rows_of
from queuesim.metrics.text import counted, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result

MOST = 5
"""Attempts with a step of their own; later ones share the last."""

SAVED, LOST, OTHER = canvas.GREEN, canvas.RED, canvas.GREY


def retry_waterfall(result: Result, ax: Axes | None) -> Axes:
    """See `Plots.retry_waterfall`."""
    ax = canvas.axes(ax)
    total, steps = waterfall(result)
    if not total:
        return canvas.nothing(ax, "no attempt failed" if result.jobs["started"].notna().any() else "no job was started")
    bars = [("had an error", total, canvas.BLUE), *steps]
    left = total
    for place, (_, count, color) in enumerate(bars):
        first = place == 0
        bottom = 0 if first else left - count
        ax.bar(place, count, 0.72, bottom=bottom, color=color)
        ax.text(place, bottom + count, f"{count:,}", ha="center", va="bottom", fontsize="small")
        if not first:
            left = bottom
        if place + 1 < len(bars):
            ax.plot((place + 0.36, place + 0.64), (left, left), color=canvas.GREY, linewidth=0.8)
    ax.set_xticks(range(len(bars)), [name for name, _, _ in bars])
    ax.set_xlim(-0.6, len(bars) - 0.4)
    ax.set_ylim(0, total * 1.12)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylabel("jobs")
    saved = sum(count for _, count, color in steps if color == SAVED)
    ended = f"retries saved {saved:,} of {counted(total, 'job')} that had an error ({percent(saved / total)})"
    canvas.finish(ax, ended)
    ax.grid(False, axis="x")
    return ax


def waterfall(result: Result) -> tuple[int, list[tuple[str, int, str]]]:
    """How many measured jobs had an error, and how many of them left at each step: its label, the jobs, its colour."""
    jobs, attempts = result.jobs, result.attempts
    failed = attempts["outcome"].isin(["retried", "failed"]).to_numpy()
    row = rows_of(jobs["job"].to_numpy(), attempts["job"].to_numpy())
    failed = failed & (row >= 0)
    had = np.zeros(len(jobs), dtype=bool)
    had[row[failed]] = True
    had &= ~jobs["warmup"].to_numpy()
    hopeless = np.zeros(len(jobs), dtype=bool)
    refused = failed & ~attempts["retryable"].fillna(True).to_numpy(dtype=bool)
    hopeless[row[refused]] = True
    state = jobs["state"].to_numpy()
    completed, dead = had & (state == "completed"), had & (state == "failed")
    number = np.minimum(jobs["attempts"].to_numpy(), MOST)
    steps = [("can't be\nretried", int((dead & hopeless).sum()), LOST)]
    for attempt in range(2, MOST + 1):
        later = " or later" if attempt == MOST else ""
        steps.append((f"saved by\nattempt {attempt}{later}", int((completed & (number == attempt)).sum()), SAVED))
    steps.append(("gave up after\nthe last one", int((dead & ~hopeless).sum()), LOST))
    other = int(had.sum()) - sum(count for _, count, _ in steps)
    steps.append(("not finished", other, OTHER))
    return int(had.sum()), [step for step in steps if step[1]]
