"""Frames: a recording turned into pandas, one table for each kind of row, in whole columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.metrics.frames.attempts import attempts_frame
from queuesim.metrics.frames.checks import checks_frame
from queuesim.metrics.frames.events import events_frame
from queuesim.metrics.frames.faults import faults_frame
from queuesim.metrics.frames.jobs import jobs_frame
from queuesim.metrics.frames.limiter import limiter_frame
from queuesim.metrics.frames.overdue import overdue_frame
from queuesim.metrics.frames.starts import link

if TYPE_CHECKING:
    import pandas as pd

    from queuesim.metrics.recording import Recording

FRAMES = ("jobs", "attempts", "events", "limiter", "overdue", "faults", "checks")
"""The names of a result's frames."""


def build_frames(recording: Recording, name: str) -> dict[str, pd.DataFrame]:
    """Build the frame `name` of FRAMES, and those that come with it: three are made of the attempts."""
    if name == "events":
        return {"events": events_frame(recording)}
    if name == "checks":
        return {"checks": checks_frame(recording.checks)}
    if name == "faults":
        return {"faults": faults_frame(recording.faults)}
    if name == "overdue":
        return {"overdue": overdue_frame(recording.scans)}
    starts = link(recording)
    return {
        "jobs": jobs_frame(recording, starts),
        "attempts": attempts_frame(recording, starts),
        "limiter": limiter_frame(recording),
    }


__all__ = ["FRAMES", "build_frames"]
