"""A result's frames on the virtual calendar."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from metrics_script import NAN, Script

from queuesim.results.frames import FRAMES, moments
from queuesim.results.result import Result

EPOCH = pd.Timestamp("2025-01-06T08:00:00Z")


def run() -> Result:
    script = Script(100.0, epoch=EPOCH.timestamp())
    script.attempt(script.job(1.5), 2.0, 3.25)
    script.job(4.0, left="waiting")
    return Result(script.recording())


def test_points_in_time_are_times_of_day_and_durations_stay_seconds() -> None:
    result = run()
    jobs = result.calendar.jobs
    assert jobs["scheduled"][0] == EPOCH + pd.Timedelta("1.5s")
    assert jobs["finished"][0] == EPOCH + pd.Timedelta("3.25s")
    assert jobs["finished"][1] is pd.NaT
    assert jobs["waiting"][0] == 0.5
    assert jobs["waiting"][1] is pd.NA
    assert result.calendar.epoch == EPOCH


def test_the_result_itself_stays_as_it_is() -> None:
    result = run()
    before = {name: getattr(result, name).copy() for name in FRAMES}
    for name in FRAMES:
        getattr(result.calendar, name).iloc[:0]
        pd.testing.assert_frame_equal(getattr(result, name), before[name])


def test_the_timeline_can_be_resampled() -> None:
    bins = run().calendar.timeline("10s")
    assert bins.index[0] == EPOCH
    assert list(bins["added"].resample("50s").sum()) == [2, 0]


def test_microseconds_survive_any_epoch() -> None:
    seconds = np.array([0.000001, 3600.000123, 31_536_000.999999, NAN])
    times = moments(seconds, EPOCH.timestamp())
    assert [time.microsecond for time in times[:3]] == [1, 123, 999999]
    assert times[3] is pd.NaT


@pytest.mark.parametrize("frame", FRAMES)
def test_nothing_happened(frame: str) -> None:
    result = Result(Script().recording())
    empty, some = getattr(result.calendar, frame), getattr(run().calendar, frame)
    assert len(empty) == 0
    assert [str(kind) for kind in empty.dtypes] == [str(kind) for kind in some.dtypes]
