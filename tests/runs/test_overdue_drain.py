"""How a run ends whose scans for overdue tasks go on while it drains."""

from __future__ import annotations

import pytest

import queuesim
from queuesim.results.recording import StopReason


def play(window: float, service: float, backend: str = "sim") -> queuesim.Result:
    """Thirty overdue tasks, a scan every second, and a worker that tells one assignee at a time."""
    return queuesim.run(
        {
            "name": "drains",
            "duration": 10.0,
            "drain": True,
            "workers": {"name": "w"},
            "jobs": {"a": {"service": 0.1}, "overdue-tasks-notification": {"service": service, "weight": 0.0}},
            "load": [{"name": "users", "constant": 0.5, "jobs": {"a": 1.0}}],
            "overdue": {"every": 1.0, "backlog": 30, "window": window},
        },
        backend,
    )


@pytest.mark.parametrize("backend", ["sim", "fakeredis"])
def test_a_drain_never_ends_if_scans_tell_again_faster_than_workers_tell(backend: str) -> None:
    stopped = play(5.0, 1.0, backend).facts.stopped
    assert stopped is not None
    assert (stopped.reason, stopped.at) == (StopReason.NO_PROGRESS, 10.0)
    assert "never ends" in stopped.detail


def test_a_drain_ends_between_two_scans_if_workers_are_fast_enough() -> None:
    result = play(5.0, 0.01)
    assert result.facts.stopped is None
    assert result.facts.duration < 12.0


def test_a_drain_waits_for_a_backlog_that_nobody_was_told_of_before() -> None:
    """It takes six times as long as the load lasted, and every assignee is told once."""
    result = play(100.0, 2.0)
    assert result.facts.stopped is None
    assert result.facts.duration > 60.0
