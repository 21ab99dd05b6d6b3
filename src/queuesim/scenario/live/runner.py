"""Running a scenario in real time: the server, the loop, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from queuesim.metrics.recording import Recording
from queuesim.processor import Processor
from queuesim.scenario.backends import BackendError
from queuesim.scenario.live.run import Judge, LiveRun, Progress
from queuesim.scenario.live.worker import own_processor
from queuesim.scenario.schema import Scenario

if TYPE_CHECKING:
    from queuesim.scenario.live.overdue import LiveOverdue

ENVIRONMENT = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")


def record(
    scenario: Scenario,
    url: str | None,
    seed: int,
    own: Processor | None = None,
    progress: Progress | None = None,
    aborting: Judge | None = None,
) -> Recording:
    """Play a scenario on a real server and return the bare recording.

    The run has a thread and an event loop of its own, so that a notebook's loop does not matter, and the caller's
    thread waits for it: Ctrl-C there ends the run, and what was recorded until then is returned.

    Raises:
        BackendError: the scenario asks for what only a simulation can do.
    """
    from queuesim import __version__

    if scenario.faults:
        raise BackendError(
            f"scenario {scenario.name} injects faults, which the backend redis can't do; play it on sim or fakeredis"
        )
    named = None if own is not None else own_processor(scenario)
    with server(url) as address, _overdue(scenario, own or named, seed) as overdue:
        run = LiveRun(
            scenario, address, seed=seed, own=own, named=named, progress=progress, aborting=aborting, overdue=overdue
        )
        began = time.perf_counter()
        _play(run)
        return run.recording(wall=time.perf_counter() - began, version=__version__)


@contextmanager
def server(url: str | None) -> Iterator[str | None]:
    """The server's URL: the one given, the environment's (None), or a private server's for as long as it is needed."""
    from queuesim.live.embedded import EmbeddedServer, is_embedded

    if url is None and not any(os.environ.get(name) for name in ENVIRONMENT):
        url = "embedded"
    if url is None or not is_embedded(url):
        yield url
        return
    with EmbeddedServer.from_url(url) as private:
        yield private.url


def _overdue(
    scenario: Scenario, own: Processor | None, seed: int
) -> AbstractContextManager[LiveOverdue] | AbstractContextManager[None]:
    """The overdue tasks, if the scenario has some. Their database is an extra, so it is loaded only now."""
    if scenario.overdue is None:
        return nullcontext()
    from queuesim.scenario.live.overdue import overdue_tasks

    return overdue_tasks(scenario, own, seed)


def _play(run: LiveRun) -> None:
    failure: list[BaseException] = []

    def play() -> None:
        try:
            asyncio.run(run.play())
        except BaseException as error:  # noqa: BLE001 - it is raised where the run was asked for
            failure.append(error)

    thread = threading.Thread(target=play, name=f"queuesim {run.scenario.name}")
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            run.interrupt()
    if failure:
        raise failure[0]
