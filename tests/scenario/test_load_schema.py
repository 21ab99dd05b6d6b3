from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.scenario.load import Arrivals, Bulk, LoadEntry, Segment, TraceJob

FILE = {"file": True}


def arrivals(written: Any) -> Arrivals:
    return Arrivals.model_validate(written, context=FILE)


def test_one_rate_is_one_segment() -> None:
    assert arrivals("60/min").segments() == (Segment(0.0, math.inf, 1.0, 1.0),)
    assert arrivals({"rate": "60/min"}).segments(10.0) == (Segment(0.0, 10.0, 1.0, 1.0),)


def test_stages_ramp_from_the_rate_before_or_hold() -> None:
    stages = [
        {"duration": "10s", "target": "2/s"},
        {"duration": "5s", "rate": "7/s"},
        {"duration": "10s", "target": 0},
    ]
    expected = (Segment(0.0, 10.0, 0.0, 2.0), Segment(10.0, 5.0, 7.0, 7.0), Segment(15.0, 10.0, 7.0, 0.0))
    assert arrivals({"stages": stages}).segments() == expected
    first = arrivals({"from": "1/s", "stages": stages}).segments()[0]
    assert first == Segment(0.0, 10.0, 1.0, 2.0)


def test_a_run_that_ends_earlier_cuts_the_stages() -> None:
    stages = [{"duration": "10s", "target": "2/s"}, {"duration": "5s", "rate": "7/s"}]
    assert arrivals({"stages": stages}).segments(5.0) == (Segment(0.0, 5.0, 0.0, 1.0),)
    assert arrivals({"stages": stages}).segments(10.0) == (Segment(0.0, 10.0, 0.0, 2.0),)
    assert arrivals({"stages": stages}).segments(12.0)[1] == Segment(10.0, 2.0, 7.0, 7.0)


@given(
    lengths=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=5),
    targets=st.lists(st.floats(0, 100), min_size=5, max_size=5),
    cut=st.floats(0.001, 6e4),
)
def test_segments_leave_no_gap(lengths: list[float], targets: list[float], cut: float) -> None:
    stages = [{"duration": length, "target": target} for length, target in zip(lengths, targets, strict=False)]
    segments = Arrivals.model_validate({"stages": stages}).segments(cut)
    assert segments[0].start == 0.0
    for before, after in pairwise(segments):
        assert after.start == pytest.approx(before.start + before.duration)
        assert after.rate == before.target
    assert segments[-1].start + segments[-1].duration == pytest.approx(min(cut, sum(lengths)))
    assert all(0 <= segment.target <= 100 for segment in segments)


@pytest.mark.parametrize(
    ("written", "duration", "times"),
    [
        ({"at": "10s"}, 60.0, [10.0]),
        ({"at": "60s"}, 60.0, []),
        ({"every": "20s"}, 60.0, [0.0, 20.0, 40.0]),
        ({"every": "20s", "offset": "20s"}, 60.0, [20.0, 40.0]),
        ({"every": "20s", "offset": "5s", "until": "25s"}, 60.0, [5.0, 25.0]),
        ({"every": "20s", "offset": "2m"}, 60.0, []),
    ],
)
def test_bulks_come_once_or_again_and_again(written: Any, duration: float, times: list[float]) -> None:
    assert Bulk.model_validate({"size": 5, **written}, context=FILE).times(duration) == times


@given(every=st.floats(0.1, 100), offset=st.floats(0, 100), duration=st.floats(0.1, 200))
def test_bulks_stay_within_the_run(every: float, offset: float, duration: float) -> None:
    times = Bulk(size=1, every=every, offset=offset).times(duration)
    assert all(offset <= time < duration for time in times)
    assert offset + len(times) * every >= duration or not times
    assert bool(times) == (offset < duration)


def test_every_kind_of_load() -> None:
    kinds: dict[str, Any] = {
        "constant": "5/s",
        "poisson": {"rate": "5/s"},
        "bulk": {"at": "1s", "size": 3},
        "backlog": 100,
        "closed": {"producers": 10, "think": {"exponential": "1s"}},
        "trace": "jobs.csv",
    }
    for kind, written in kinds.items():
        assert LoadEntry.model_validate({"name": "x", kind: written}, context=FILE).kind == kind
    closed = LoadEntry.model_validate({"name": "x", "closed": {"producers": 1}}).closed
    assert closed is not None
    assert closed.think.model().mean == 0.0


def test_a_job_alone_is_a_mix_of_one() -> None:
    written = {"name": "x", "backlog": 1, "jobs": "a"}
    assert LoadEntry.model_validate(written).jobs == {"a": 1.0}
    assert LoadEntry.model_validate({**written, "jobs": {"a": 2, "b": 0.5}}).jobs == {"a": 2.0, "b": 0.5}


def test_a_trace_is_read_once_from_beside_the_scenario(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("job,at_ms\na,1000\n")
    written = {"name": "x", "trace": {"file": "jobs.csv", "columns": {"name": "job"}}}
    entry = LoadEntry.model_validate(written, context={"file": True, "directory": tmp_path})
    assert entry.trace is not None
    assert entry.trace.jobs == [TraceJob("a", 1.0)]
    path.unlink()
    assert entry.trace.jobs == [TraceJob("a", 1.0)]
