"""Running a scenario in real time: the server, the loop, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from queuesim.broker.redis.address import find_address
from queuesim.metrics.recording import Recording
from queuesim.processor import Processor
from queuesim.scenario.abort import Abort
from queuesim.scenario.faults.schema import FaultEntry
from queuesim.scenario.live.faults import check_faults, needs_persistence
from queuesim.scenario.live.run import LiveRun, Progress
from queuesim.scenario.live.worker import own_processor
from queuesim.scenario.schema import Scenario

if TYPE_CHECKING:
    from queuesim.live.embedded import EmbeddedServer
    from queuesim.scenario.live.overdue import LiveOverdue

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
"""Directives of a server that loses nothing that it has acknowledged."""
ENVIRONMENT = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")


def record(
    scenario: Scenario,
    url: str | None,
    seed: int,
    own: Processor | None = None,
    progress: Progress | None = None,
    abort: Abort | None = None,
) -> Recording:
    """Play a scenario on a real server and return the bare recording.

    The run has a thread and an event loop of its own, so that a notebook's loop does not matter, and the caller's
    thread waits for it: Ctrl-C there ends the run, and what was recorded until then is returned.

    Raises:
        BackendError: the scenario asks for what only a simulation can do.
    """
    from queuesim import __version__

    named = None if own is not None else own_processor(scenario)
    with server(url, scenario.faults) as (address, private), _overdue(scenario, own or named, seed) as overdue:
        check_faults(scenario, private, find_address(address).url, own)
        run = LiveRun(
            scenario,
            address,
            seed=seed,
            own=own,
            named=named,
            progress=progress,
            abort=abort,
            overdue=overdue,
            private=private,
        )
        began = time.perf_counter()
        _play(run)
        recording = run.recording(wall=time.perf_counter() - began, version=__version__)
    recording.checks.extend(run.judge(recording))
    return recording


@contextmanager
def server(url: str | None, faults: Sequence[FaultEntry] = ()) -> Iterator[tuple[str | None, EmbeddedServer | None]]:
    """The server's URL: the one given, the environment's (None), or a private server's for as long as it is needed.

    A private one that a fault restarts keeps its data on disk, each write before it is acknowledged, unless the URL
    says otherwise.
    """
    from queuesim.live.embedded import EmbeddedServer, is_embedded

    if url is None and not any(os.environ.get(name) for name in ENVIRONMENT):
        url = "embedded"
    if url is None or not is_embedded(url):
        yield url, None
        return
    defaults = DURABLE if needs_persistence(faults) else {}
    with EmbeddedServer.from_url(url, defaults) as private:
        yield private.url, private


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
