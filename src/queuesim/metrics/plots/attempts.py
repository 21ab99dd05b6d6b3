"""Attempts: how many jobs came to each attempt, and how these ended."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from queuesim.metrics.level import Array
from queuesim.metrics.plots import canvas
from queuesim.metrics.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from queuesim.metrics.result import Result

MOST = 8
"""Attempts with a group of bars of their own; later ones share the last."""

OUTCOMES = {
    "ok": canvas.GREEN,
    "rate-limited": canvas.SKY,
    "delayed": canvas.PINK,
    "lost": canvas.YELLOW,
    "unfinished": canvas.GREY,
}
"""Colours of what is no error."""

ERRORS = (canvas.BLUE, canvas.ORANGE, canvas.PINK, canvas.SKY, canvas.YELLOW, canvas.GREY)
"""Colours of the categories of errors, by how frequent they are."""


Key = tuple[str, str]
"""An outcome, and the category of its error or ""."""


def attempts(result: Result, ax: Axes | None) -> Axes:
    """See `Plots.attempts`."""
    ax = canvas.axes(ax)
    counts = _counts(result)
    if not counts:
        return canvas.nothing(ax, "no job was started")
    total = np.sum(list(counts.values()), axis=0)
    places, width = np.arange(len(total)), 0.8 / len(counts)
    ax.bar(places, total, 0.92, color=canvas.PALE, label="all attempts")
    colors = _colors(counts)
    for index, ((outcome, category), numbers) in enumerate(counts.items()):
        bars = ax.bar(
            places - 0.4 + (index + 0.5) * width,
            numbers,
            width * 0.9,
            color=colors[(outcome, category)],
            hatch="////" if outcome == "failed" else None,
            edgecolor="white",
            label=f"{outcome}: {category}" if category else outcome,
        )
        if len(counts) * len(total) <= 30:
            ax.bar_label(bars, [f"{number:,}" if number else "" for number in numbers], fontsize="x-small", padding=1)
    ax.set_yscale("log")
    canvas.log_axis(ax.yaxis)
    ax.set_ylim(0.7, total.max() * 12)
    names = [f"{place + 1}{' and later' if place + 1 == MOST else ''}\n({total[place]:,})" for place in places]
    ax.set_xticks(places, names)
    ax.set_xlim(-0.6, max(len(total), 3) - 0.4)
    ax.set_xlabel("attempt of a job, and how many there were")
    ax.set_ylabel("attempts (logarithmic)")
    ax.legend(loc="upper right", fontsize="small", ncols=2)
    canvas.finish(ax, _title(result))
    ax.grid(False, axis="x")
    return ax


def _counts(result: Result) -> dict[Key, Array]:
    """Attempts of measured jobs by their number, from 1 on, for each outcome and category that occurred."""
    jobs, rows = result.jobs, result.attempts
    counted = rows["job"].isin(jobs["job"][~jobs["warmup"]]).to_numpy()
    if not counted.any():
        return {}
    number = np.minimum(rows["attempt"].to_numpy()[counted], MOST).astype(np.intp) - 1
    outcome, category = (rows[name].cat.codes.to_numpy(np.intp)[counted] for name in ("outcome", "category"))
    outcomes, categories = list(rows["outcome"].cat.categories), [*rows["category"].cat.categories, ""]
    # one number for both, as the rows may be a million; no category, -1, is the last of them
    pair = outcome * len(categories) + category % len(categories)
    order = ["ok", "retried", "failed", *(name for name in OUTCOMES if name != "ok")]
    counts = {}
    for each in np.flatnonzero(np.bincount(pair)):
        key = outcomes[each // len(categories)], categories[each % len(categories)]
        counts[key] = np.bincount(number[pair == each], minlength=number.max() + 1)
    return dict(sorted(counts.items(), key=lambda item: (order.index(item[0][0]), -item[1].sum())))


def _colors(counts: dict[Key, Array]) -> dict[Key, str]:
    """One colour a category, whether it was retried or failed for good; the rest by outcome."""
    errors: dict[str, int] = {}
    for (_, category), numbers in counts.items():
        errors[category] = errors.get(category, 0) + int(numbers.sum())
    errors.pop("", None)
    shades = dict(zip(sorted(errors, key=lambda category: -errors[category]), itertools.cycle(ERRORS), strict=False))
    return {key: OUTCOMES.get(key[0]) or shades.get(key[1], canvas.RED) for key in counts}


def _title(result: Result) -> str:
    jobs = result.summary().jobs
    if not jobs.attempts:
        return "No measured job was started"
    failed = f"{jobs.failed:,} of {counted(jobs.added, 'job')} failed for good"
    return f"{jobs.retry_amplification:.2f} attempts per job; {failed}"
