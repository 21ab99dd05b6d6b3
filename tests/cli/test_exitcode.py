"""What a result makes of the exit code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from queuesim.cli.exitcode import ExitCode, exit_code


@pytest.mark.parametrize(
    ("ok", "stopped", "code"),
    [
        (True, "", ExitCode.OK),
        (False, "", ExitCode.FAILED),
        (False, "threshold lost == 0 failed", ExitCode.FAILED),
        (True, "interrupted at 3 s", ExitCode.INTERRUPTED),
        (False, "interrupted at 3 s", ExitCode.INTERRUPTED),
    ],
)
def test_code(ok: bool, stopped: str, code: ExitCode) -> None:
    result = SimpleNamespace(ok=ok, facts=SimpleNamespace(stopped=stopped))
    assert exit_code(result) is code  # type: ignore[arg-type]
