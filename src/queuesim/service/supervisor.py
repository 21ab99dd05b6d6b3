"""Several worker processes of one command: started together, restarted when they die, ended together."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from queuesim.service.log import ContainedLogger

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a process that died is started again; twice as long each time it dies at once."""
REFUSED, SIGNALLED = 2, 128
"""Exit codes: the input or the server can't be used; 128 and the signal's number."""
LONG_LIFE = 10.0
"""Seconds after which a process counts as having worked."""


class Supervisor:
    """Keeps processes running until a signal, which it passes on. A second one is passed on, too.

    Each process has a pipe for its standard input that ends with the supervisor, even if that is killed.

    Args:
        command: of the process with a number, from 0.
        environment: of all of them.
        logger: reports processes that die.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        count: int,
        environment: Mapping[str, str],
        logger: ContainedLogger,
    ) -> None:
        self._command = command
        self._count = count
        self._environment = environment
        self._log = logger
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until all have ended after a signal. Returns the worst exit code; 2 at once where one refuses to start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._pass_on, number)
        codes = await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        return REFUSED if REFUSED in codes else max(codes)

    def _pass_on(self, number: signal.Signals) -> None:
        self._stopping.set()
        for process in self._processes.values():
            if process.returncode is None:
                # it may have died just now: the others still get the signal
                with suppress(ProcessLookupError):
                    process.send_signal(number)

    async def _keep(self, number: int) -> int:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            began = loop.time()
            # in a session of its own: a Ctrl-C reaches it through us, once; by its standard input it knows that we live
            process = await asyncio.create_subprocess_exec(
                *self._command(number), env=self._environment, start_new_session=True, stdin=asyncio.subprocess.PIPE
            )
            self._processes[number] = process
            if self._stopping.is_set():
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            code = await process.wait()
            if self._stopping.is_set():
                return _exit_code(code)
            if code == REFUSED:
                # wrong input stays wrong
                self._pass_on(signal.SIGTERM)
                return code
            pause = FIRST_PAUSE if loop.time() - began > LONG_LIFE else pause
            self._log.error("worker process died", process=number, pid=process.pid, code=code, again_in=pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return 1
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)


def _exit_code(code: int) -> int:
    """The exit code of a process that was asked to end.

    One that had not begun to work dies of the signal itself: it has nothing to finish.
    """
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else SIGNALLED - code
