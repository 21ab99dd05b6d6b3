"""Plots that leave time out: how waiting and latency are spread, attempts and their ends, and what retries saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from queuesim.results.fault_kinds import BLUE, GREEN, GREY, ORANGE, RED
from queuesim.results.levels import Array
from queuesim.results.plots import style
from queuesim.results.recording import rows_of
from queuesim.results.summary import Run
from queuesim.text import counted, percent, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]
MARKED = (50.0, 95.0, 99.0)
TICKS = (0.0, 50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999)
MOST = 8
"""Attempts with a group of bars of their own; later ones share the last."""
Key = tuple[str, str]
"""An outcome, and the category of its error or ""."""
MOST_BARS = 5
"""Attempts with a step of their own; later ones share the last."""
DURATIONS = (
    *(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 864000.0, 8640000.0),
)
"""Ticks of an axis of durations, in seconds."""


def latency_distribution(result: Run, ax: Axes | None) -> Axes:
    """See `Plots.latency_distribution`."""
    ax = style.axes(ax)
    jobs = result.jobs[~result.jobs["warmup"].to_numpy() & result.jobs["finished"].notna().to_numpy()]
    if not len(jobs):
        return style.nothing(ax, "no job finished")
    waiting, latency = jobs["waiting"].to_numpy(), jobs["latency"].to_numpy()
    waiting = waiting[~np.isnan(waiting)]
    both = np.concatenate((waiting, latency))
    floor, slowest = _floor(both), float(both.max())
    top = min(max(99.9, 100 - 100 / len(jobs)), TICKS[-1])
    ax.set_xscale("log")
    # as many steps as attempts to the right of the curves as it takes to name the slowest job there
    ax.set_xlim(floor, max(slowest, floor * 10) * (max(slowest, floor * 10) / floor) ** 0.15)
    _duration_axis(ax, floor, float(both.min()) < floor)
    _curve(ax, latency, floor, top, BLUE, "o-", "latency: schedule to finish")
    if len(waiting):
        _curve(ax, waiting, floor, top, ORANGE, "s--", "waiting for the first start")
    _percent_axis(ax, top)
    ax.set_ylabel("share of jobs that took no longer")
    p95 = float(np.percentile(latency, 95))
    style.finish(ax, f"95 % of {counted(len(jobs), 'finished job')} took at most {readable(p95)}")
    return ax


def _floor(values: Values) -> float:
    """The smallest duration that a logarithmic axis shows: what is below it counts as no time."""
    above = values[values > 0]
    if not len(above):
        return 1e-3
    lowest, highest = float(above.min()) / 1.5, float(above.max())
    return min(max(lowest, highest / 1e6), highest / 20)


def _tail(percent: Values | float) -> Values:
    """Height of a percentile: the same step from 90 % to 99 % as from 99 % to 99.9 %."""
    return np.asarray(-np.log10(1 - np.asarray(percent) / 100))


def _duration_axis(ax: Axes, floor: float, less: bool) -> None:
    """Times as people write them, with the lowest one marked as "or less" where there are shorter ones."""
    from matplotlib.ticker import NullLocator

    (low, high), letters = ax.get_xlim(), int(style.inches(ax)[0] * 11)
    ticks = [tick for tick in DURATIONS if floor * (1.5 if less else 1.0) <= tick <= high]
    apart = math.log(high / low) / max(1, letters // 8)
    kept: list[float] = [floor] if less else []
    for tick in ticks:
        if not kept or math.log(tick / kept[-1]) >= apart:
            kept.append(tick)
    ax.set_xticks(kept, [f"≤ {readable(tick)}" if less and tick == floor else readable(tick) for tick in kept])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("time, on a logarithmic axis")


def _curve(ax: Axes, values: Values, floor: float, top: float, color: str, look: str, name: str) -> None:
    """A curve with its percentiles written beside it: right of the latency, left of the waiting, which is shorter."""
    marker, line = look[0], look[1:]
    heights = np.linspace(0, float(_tail(top)), 600)
    shown = np.append(np.percentile(values, 100 * (1 - 10**-heights)), values.max())
    ax.plot(np.maximum(shown, floor), np.append(heights, heights[-1]), line, color=color, linewidth=1.8)
    marked, at = np.percentile(values, MARKED), _tail(np.array(MARKED))
    fill, right = ("none", False) if marker == "s" else ("full", True)
    ax.plot(np.maximum(marked, floor), at, marker, color=color, fillstyle=fill, markersize=7, label=name)
    texts = [f"p{percent:g} {readable(float(value))}" for percent, value in zip(MARKED, marked, strict=True)]
    texts.append(f"slowest {readable(float(values.max()))}")
    for value, height, text in zip([*marked, values.max()], [*at, heights[-1]], texts, strict=True):
        left = not right and value > floor * 20
        ax.annotate(
            text, (max(float(value), floor), float(height)), (-7 if left else 7, -7 if right else 4),
            textcoords="offset points", ha="right" if left else "left", va="center", color=style.darker(color),
            fontsize="small",
        )  # fmt: skip
    ax.text(
        0.02, 0.97 if right else 0.90, f"{'●' if right else '□'} {name}", transform=ax.transAxes, va="top",
        color=style.darker(color), fontsize="small",
    )  # fmt: skip


def _percent_axis(ax: Axes, top: float) -> None:
    shown = [tick for tick in TICKS if tick <= top + 1e-9]
    ax.set_yticks([float(_tail(tick)) for tick in shown], [f"{tick:g} %" for tick in shown])
    ax.set_ylim(0, float(_tail(top)) * 1.03)


def attempts(result: Run, ax: Axes | None) -> Axes:
    """See `Plots.attempts`."""
    ax = style.axes(ax)
    counts = _counts(result)
    if not counts:
        return style.nothing(ax, "no job was started")
    total = np.sum(list(counts.values()), axis=0)
    places, width = np.arange(len(total)), 0.8 / len(counts)
    colors = style.error_colors(result)
    for index, ((outcome, category), numbers) in enumerate(counts.items()):
        bars = ax.bar(
            places - 0.4 + (index + 0.5) * width,
            numbers,
            width * 0.9,
            color=style.OUTCOMES.get(outcome) or colors.get(category, RED),
            hatch="////" if outcome == "failed" else None,
            edgecolor="white",
            label=f"{style.short(category)} error, {outcome}" if category else outcome,
        )
        if len(counts) * len(total) <= 30:
            ax.bar_label(bars, [f"{number:,}" if number else "" for number in numbers], fontsize="x-small", padding=1)
    ax.set_yscale("log")
    style.log_axis(ax.yaxis)
    ax.set_ylim(0.7, total.max() * 5)
    names = [f"{place + 1}{' and later' if place + 1 == MOST else ''}\n({total[place]:,})" for place in places]
    ax.set_xticks(places, names)
    ax.set_xlim(-0.6, max(len(total), 3) - 0.4)
    ax.set_xlabel("number of the attempt (and how many there were)")
    ax.set_ylabel("attempts, on a logarithmic axis")
    ax.legend(loc="upper right", fontsize="small", framealpha=0.8)
    style.finish(ax, _title(result))
    ax.grid(False, axis="x")
    return ax


def _counts(result: Run) -> dict[Key, Array]:
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
    order = ["ok", "retried", "failed", *(name for name in style.OUTCOMES if name != "ok")]
    counts = {}
    for each in np.flatnonzero(np.bincount(pair)):
        key = outcomes[each // len(categories)], categories[each % len(categories)]
        counts[key] = np.bincount(number[pair == each], minlength=number.max() + 1)
    return dict(sorted(counts.items(), key=lambda item: (order.index(item[0][0]), -item[1].sum())))


def _title(result: Run) -> str:
    jobs = result.summary().jobs
    if not jobs.attempts:
        return "No measured job was started"
    failed = f"{jobs.failed:,} of {counted(jobs.added, 'job')} failed for good"
    return f"{failed}, after {jobs.retry_amplification:.2f} attempts per job"


def retry_waterfall(result: Run, ax: Axes | None) -> Axes:
    """See `Plots.retry_waterfall`."""
    ax = style.axes(ax)
    total, steps = waterfall(result)
    if not total:
        return style.nothing(ax, "no attempt failed" if result.jobs["started"].notna().any() else "no job was started")
    bars = [("had an\nerror", total, BLUE), *steps]
    left = total
    for place, (_, count, color) in enumerate(bars):
        first = place == 0
        bottom = 0 if first else left - count
        ax.bar(place, count, 0.72, bottom=bottom, color=color, alpha=0.55)
        ax.text(place, bottom + count, f"{count:,}", ha="center", va="bottom", fontsize="small")
        if not first:
            left = bottom
        if place + 1 < len(bars):
            ax.plot((place + 0.36, place + 0.64), (left, left), color=GREY, linewidth=0.8)
    ax.set_xticks(range(len(bars)), [name for name, _, _ in bars], fontsize="small")
    ax.set_xlim(-0.6, len(bars) - 0.4)
    ax.set_ylim(0, total * 1.12)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylabel("jobs")
    saved = sum(count for _, count, color in steps if color == GREEN)
    ended = f"retries saved {saved:,} of {counted(total, 'job')} that had an error ({percent(saved / total)})"
    style.finish(ax, ended)
    ax.grid(False, axis="x")
    return ax


def waterfall(result: Run) -> tuple[int, list[tuple[str, int, str]]]:
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
    number = np.minimum(jobs["attempts"].to_numpy(), MOST_BARS)
    steps = [("not\nretryable", int((dead & hopeless).sum()), RED)]
    for attempt in range(2, MOST_BARS + 1):
        later = "\nor later" if attempt == MOST_BARS else ""
        steps.append((f"saved by\nattempt {attempt}{later}", int((completed & (number == attempt)).sum()), GREEN))
    steps.append(("failed at\nthe last", int((dead & ~hopeless).sum()), RED))
    other = int(had.sum()) - sum(count for _, count, _ in steps)
    steps.append(("not\nfinished", other, GREY))
    return int(had.sum()), [step for step in steps if step[1]]
