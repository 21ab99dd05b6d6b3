"""Results: what they hold, when they are ok, how they look in a line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from metrics_script import Script

from queuesim.results.recording import CheckRow, Stop, StopReason
from queuesim.results.result import Result


def test_ok_needs_every_check() -> None:
    script = Script()
    assert Result(script.recording()).ok
    script.checks.append(CheckRow("lost == 0", True, 0.0, "== 0"))
    assert Result(script.recording()).ok
    script.checks.append(CheckRow("failed == 0", False, 2.0, "== 0"))
    assert not Result(script.recording()).ok


def test_ok_needs_a_run_that_could_go_on() -> None:
    assert Result(Script().recording()).ok
    stopped = {reason for reason in StopReason if not Result(Script(stopped=Stop(reason, 5.0)).recording()).ok}
    assert stopped == {StopReason.NO_PROGRESS, StopReason.DEADLOCK, StopReason.LIVELOCK}


@pytest.mark.parametrize(
    ("stop", "sentence"),
    [
        (Stop(StopReason.INTERRUPTED, 5.0), "interrupted at 5 s"),
        (Stop(StopReason.INTERRUPTED, detail="the server is gone"), "interrupted: the server is gone"),
        (Stop(StopReason.THRESHOLD, 7.5, "lost == 0"), "threshold lost == 0 failed at 7.5 s"),
        (Stop(StopReason.NO_PROGRESS, 30.0), "no progress since 30 s"),
        (Stop(StopReason.DEADLOCK, 0.0, "nothing is ready"), "deadlock at 0 s: nothing is ready"),
    ],
)
def test_a_stop_in_words(stop: Stop, sentence: str) -> None:
    assert str(stop) == sentence


def test_one_line() -> None:
    script = Script(5400.0, scenario="night", seed=7)
    script.attempt(script.job(0), 0, 1)
    assert repr(Result(script.recording())) == (
        "<Result night on sim, seed 7: 1 job in 1 h 30 min, 1 completed, 0 failed, ok>"
    )


def test_frames_are_built_once_and_the_recording_let_go() -> None:
    script = Script()
    script.attempt(script.job(0), 0, 1)
    script.event(0.0, "added", 1)
    result = Result(script.recording())
    assert result.jobs is result.jobs
    assert result.events is result.events
    assert result._recording is not None
    assert len(result._recording.jobs) == len(result._recording.attempts) == len(result._recording.events) == 0
    assert len(result.limiter) == 0


def test_the_recording_itself_is_left_alone() -> None:
    script = Script()
    script.attempt(script.job(0), 0, 1)
    recording = script.recording()
    Result(recording).jobs
    assert len(recording.jobs) == 1


def test_the_last_moment_of_a_recording() -> None:
    script = Script()
    assert script.recording().last_moment == 0
    job = script.job(1)
    assert script.recording().last_moment == 1
    script.attempt(job, 2, float("nan"))
    assert script.recording().last_moment == 2
    script.event(3.5, "stalled", 1)
    assert script.recording().last_moment == 3.5


def test_a_result_waits_with_pandas_until_it_is_asked() -> None:
    code = (
        "import sys\n"
        "from queuesim.results import metrics, result, summary\n"
        "from queuesim.results.views import terminal\n"
        "assert not {'pandas', 'matplotlib', 'pyarrow'} & set(sys.modules), 'loaded too early'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
