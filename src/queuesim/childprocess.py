"""Child processes that asyncio waits for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a child process. Nothing happens if it has ended.

    Before Python 3.13, asyncio's own `send_signal` and `kill` first ask whether the process has ended. If it has, that
    takes the exit code away from asyncio, which then reports 255 (https://github.com/python/cpython/issues/87744).
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
