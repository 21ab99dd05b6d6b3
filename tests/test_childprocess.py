"""Signals to child processes that may have ended just now."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from queuesim.childprocess import send_signal


async def ended_unnoticed() -> asyncio.subprocess.Process:
    """A process that has ended with exit code 3, of which the loop has not been told yet."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")
    # the loop stands still on purpose; asyncio's thread may have taken the exit code already
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    return process


def test_a_signal_to_a_process_that_has_just_ended_leaves_its_exit_code_to_asyncio(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def code() -> int:
        process = await ended_unnoticed()
        for _ in range(3):
            send_signal(process, signal.SIGTERM)
        return await process.wait()

    # whether asyncio's thread has already taken the code differs from time to time
    assert [asyncio.run(code()) for _ in range(10)] == [3] * 10
    assert caplog.text == ""


def test_a_signal_ends_a_process() -> None:
    async def code() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
        send_signal(process, signal.SIGKILL)
        return await process.wait()

    assert asyncio.run(code()) == -signal.SIGKILL
