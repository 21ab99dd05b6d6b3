"""What a result makes of the exit code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from queuesim.cli.io import ExitCode, exit_code
from queuesim.results.recording import Stop, StopReason


@pytest.mark.parametrize(
    ("ok", "stopped", "code"),
    [
        (True, None, ExitCode.OK),
        (False, None, ExitCode.FAILED),
        (False, Stop(StopReason.THRESHOLD, 3.0, "lost == 0"), ExitCode.FAILED),
        (True, Stop(StopReason.INTERRUPTED, 3.0), ExitCode.INTERRUPTED),
        (False, Stop(StopReason.INTERRUPTED, 3.0), ExitCode.INTERRUPTED),
    ],
)
def test_code(ok: bool, stopped: Stop | None, code: ExitCode) -> None:
    result = SimpleNamespace(ok=ok, facts=SimpleNamespace(stopped=stopped))
    assert exit_code(result) is code  # type: ignore[arg-type]
