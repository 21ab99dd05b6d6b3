"""The limiter: no window has more starts than it may."""

from __future__ import annotations

import math

import numpy as np

from queuesim.core.events import EventKind
from queuesim.oracles.columns import Array
from queuesim.oracles.rollback import TICK
from queuesim.oracles.run_view import RunView, check_row, share_outside
from queuesim.results.recording import CheckRow


def limiter(view: RunView) -> CheckRow:
    """No window is exceeded, none begins before the last is over, and no job starts outside of one."""
    name = "limiter windows never exceeded"
    limits = view.expectations.limiters
    if not limits:
        return check_row(name, [])
    starts = np.sort(view.events["time"][view.events["kind"] == EventKind.ACTIVE.code], kind="stable")
    # where times are whole milliseconds, so are the moments at which windows close: two roundings come together.
    # 1e-6 s and less is no more than rounding of floats: there a window and the start that opens it have one time
    edge = 2 * view.expectations.resolution if view.expectations.resolution > TICK else 0.0
    longest = max(limit.duration for limit in limits)
    # a window of before may go on after a rollback, with a smaller count; who forgets all forgets the queue's limit too
    rolled_back = [(each.until, each.until + longest if each.since > 0 else math.inf) for each in view.rollbacks.all]
    windows, starts = _on_time(view, starts, edge, [*view.late_spans, *rolled_back])
    shortest, uncounted = min(limit.duration for limit in limits), _uncounted(view)
    # one that opens within rounding of the end of the last
    violations = _sliding(
        starts,
        max(limit.max for limit in limits),
        shortest * (1 - 1e-9) - max(edge, TICK),
        view.holds[:, 0],
        uncounted,
    )
    if len(windows) and not view.expectations.slack:
        # elsewhere a worker's clock says when one opened, and the server's when jobs started
        if len(limits) > 1:
            # each worker holds the starts against a max of its own, whoever opened the window
            windows = windows.copy()
            windows["max"] = np.maximum(windows["max"], max(limit.max for limit in limits))
        violations += _windows(_cut_short(windows, view.holds[:, 0], edge), starts, uncounted, edge)
    elif len(starts) > uncounted and not view.late and view.recording.facts.backend == "sim":
        violations.append(f"{len(starts)} jobs started and no window ever opened")
    return check_row(name, violations, judged=share_outside([*view.late_spans, *rolled_back], view.end))


def _on_time(view: RunView, starts: Array, edge: float, spans: list[tuple[float, float]]) -> tuple[Array, Array]:
    """The windows and starts that can be judged: not those of some spans. Where commands are late, starts bear the time
    at which their worker asked, and so do windows."""
    windows = view.recording.windows
    for since, until in spans:
        touched = (windows["opened"] <= until) & (windows["closes"] >= since)
        first = min([since, *windows["opened"][touched].tolist()]) - edge
        closes = windows["closes"][touched]
        if edge:
            # the window bears the time at which its worker asked; Redis may have opened it when the command came
            closes = closes + np.maximum(until - windows["opened"][touched], 0.0)
        last = max([until, *closes.tolist()]) + edge
        windows, starts = windows[~touched], starts[(starts < first) | (starts >= last)]
    return windows, starts


def _uncounted(view: RunView) -> int:
    """Jobs that failed at once, for they had stalled too often, do not count as starts."""
    return sum(1 for kind, _, _ in view.recording.errors if kind == "AbandonedError") and int(
        np.isin(
            view.attempts["error"],
            [i for i, (kind, _, _) in enumerate(view.recording.errors) if kind == "AbandonedError"],
        ).sum()
    )


def _cut_short(windows: Array, holds: Array, edge: float) -> Array:
    """The windows, which end when a handler limits the queue: its limit takes their place (BullMQ 6.7)."""
    if not len(holds):
        return windows
    windows = windows.copy()
    place = np.searchsorted(holds, windows["opened"] - edge, side="left")
    ends = np.where(place < len(holds), holds[np.minimum(place, len(holds) - 1)], np.inf)
    windows["closes"] = np.minimum(windows["closes"], ends)
    return windows


def _sliding(starts: Array, most: int, duration: float, holds: Array, uncounted: int) -> list[str]:
    """A fixed window lets through at most twice its number, less one, in any stretch of its length in which no handler
    limited the queue: after that a new window opens."""
    allowed = 2 * most - 1 + uncounted
    if len(starts) <= allowed:
        return []
    later, earlier = starts[allowed:], starts[: len(starts) - allowed]
    between = np.searchsorted(holds, later, side="right") - np.searchsorted(holds, earlier, side="left")
    wrong = np.flatnonzero((later - earlier < duration) & (between == 0))
    return [f"more than {allowed} starts in the {duration:g} s from {starts[i]:g} s on" for i in wrong.tolist()]


def _windows(windows: Array, starts: Array, uncounted: int, edge: float) -> list[str]:
    """Windows with too many starts, and starts outside of all windows.

    Args:
        edge: seconds by which a recorded time may be off: a start so near to an edge may be on either side of it.
    """
    opened, closes = windows["opened"], windows["closes"]
    violations = [
        f"a window opened at {opened[i + 1]:g} s, before the last closed at {closes[i]:g} s"
        for i in np.flatnonzero(opened[1:] < closes[:-1] - max(edge, 1e-9)).tolist()
    ]
    counts = np.searchsorted(starts, closes - edge, side="left") - np.searchsorted(starts, opened + edge, side="left")
    # the start that opened it is on its edge
    counts = counts + (edge > 0)
    beyond = counts.astype(np.int64) - windows["max"].astype(np.int64)
    if int(beyond[beyond > 0].sum()) > uncounted:
        violations += [
            f"{counts[i]} starts in the window from {opened[i]:g} s, of {windows['max'][i]} at most"
            for i in np.flatnonzero(beyond > 0).tolist()
        ]
    depth = np.searchsorted(np.sort(opened - edge), starts, side="right").astype(np.int64)
    # a handler that limits the queue may have started at the moment at which it did so
    depth -= np.searchsorted(np.sort(closes + max(edge, TICK)), starts, side="right")
    outside = int((depth <= 0).sum())
    if outside > uncounted:
        violations += [f"{outside} jobs started outside of all windows"]
    return violations
