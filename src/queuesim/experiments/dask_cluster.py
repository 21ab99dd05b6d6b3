"""An executor on a Dask cluster, for experiments that are too large for one machine. Needs the extra `dask`.

Dask's scheduler does what a scheduler does: it hands out tasks, gives those of workers that died to others, and lets
idle workers take over what busy ones have not begun. Here is only what connects it with experiments.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from queuesim.error import QueuesimError
from queuesim.experiments.cache import source_version
from queuesim.experiments.executor import WorkerDiedError, described
from queuesim.experiments.task import Measured, Task, check_sendable, play
from queuesim.extras import need
from queuesim.text import counted

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 10.0
"""Seconds to wait for the scheduler, and for its first worker."""
AHEAD = 4
"""Groups of tasks that are sent for each worker: enough to keep it busy, and few to be played again if all is lost."""
SHARE = 4
"""A group is at most this part of what is left for each worker."""
LARGEST = 32
"""Tasks of a group."""
RECONNECTIONS = 5
"""How often the connection may be lost in one experiment."""


class ClusterError(QueuesimError):
    """The cluster can't be used; the message says why."""


class Dask:
    """Plays tasks on the workers of a Dask cluster, one at a time on each.

    Start each worker with one thread for each process core (``dask worker ADDRESS --nworkers auto --nthreads 1``): a
    run uses one core, and runs of one process wait for each other. The workers must have the same version of queuesim,
    and find own code and the files that a scenario names under the same names.

    Args:
        address: of the scheduler, ``tcp://10.0.0.5:8786``.
        timeout: seconds to wait for it.

    Raises:
        ClusterError: it can't be reached, has no worker, or a worker has another version.
        MissingExtraError: distributed is not installed.
    """

    remote = True

    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        need("distributed", "dask", "runs on a Dask cluster")
        self.address = address
        self._timeout = timeout
        self._client: Client | None = None
        self._connect()

    def _connect(self) -> Client:
        from distributed import Client

        try:
            client = Client(self.address, timeout=self._timeout, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(f"the cluster at {self.address} can't be reached: {error}") from None
        try:
            client.wait_for_workers(1, timeout=self._timeout)
            found: dict[str, Any] = client.run(_versions, on_error="return")
        except TimeoutError:
            client.close()
            raise ClusterError(f"the cluster at {self.address} has no workers: start some with dask worker") from None
        wrong = next(((worker, each) for worker, each in found.items() if each != _versions()), None)
        if wrong is not None:
            client.close()
            worker, each = wrong
            raise ClusterError(
                f"the worker {worker} has another version, so that its figures might differ: {each}, here {_versions()}"
                if isinstance(each, str)
                else f"queuesim can't be used on the worker {worker}: {each}"
            )
        self._client = client
        return client

    @property
    def count(self) -> int:
        """How many workers there are now."""
        client = self._client or self._connect()
        return max(1, len(client.scheduler_info(n_workers=-1)["workers"]))

    def play(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Measured]]:
        """See `Executor.play`. A scheduler that restarts forgets what it was given: it is sent again.

        Raises:
            SendError: a task has an object that can't be sent.
            ClusterError: the connection was lost again and again.
        """
        check_sendable(tasks)
        left = dict(enumerate(tasks))
        lost = 0
        while left:
            for place, measured in self._play_while_connected(dict(left)):
                del left[place]
                yield place, measured
            if left:
                lost += 1
                if lost > RECONNECTIONS:
                    raise ClusterError(f"the connection to the cluster at {self.address} was lost {lost} times")
                self.close()
                self._connect()

    def _play_while_connected(self, left: dict[int, Task]) -> Iterator[tuple[int, Measured]]:
        """What is measured until all is done, or the scheduler has forgotten it."""
        from distributed import as_completed
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        client = self._client or self._connect()
        workers = self.count
        waiting = deque(_groups(list(left), workers))
        sent: dict[Any, list[int]] = {}
        suspects: deque[int] = deque()
        alone: set[int] = set()
        running = as_completed(loop=client.loop, raise_errors=False)

        def send() -> None:
            while (waiting and len(sent) < workers * AHEAD) or (suspects and not sent):
                if not waiting:
                    alone.add(suspects[0])
                places = waiting.popleft() if waiting else [suspects.popleft()]
                future = client.submit(play_alone, [left[place] for place in places], pure=False)
                sent[future] = places
                running.add(future)

        try:
            send()
            for future in running:
                places = sent.pop(future)
                if future.status in ("cancelled", "lost"):
                    return
                try:
                    yield from zip(places, future.result(), strict=True)
                except FutureCancelledError:
                    return
                except KilledWorker as error:
                    if alone.issuperset(places):
                        raise _died(left[places[0]], error) from None
                    # Dask suspects all that a dead worker had: each of them is played again when nothing else is
                    suspects.extend(places)
                send()
        except (OSError, RuntimeError) as error:
            if client.status == "running" and not isinstance(error, OSError):
                raise
        finally:
            with contextlib.suppress(Exception):
                client.cancel(list(sent), force=True)

    def close(self) -> None:
        """Close the connection. The cluster stays."""
        if self._client is not None:
            with contextlib.suppress(OSError, TimeoutError):
                self._client.close(timeout=self._timeout)
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dask({self.address!r})"


def _groups(places: Sequence[int], workers: int) -> Iterator[list[int]]:
    """Tasks that are sent together: Dask takes some milliseconds for what is sent, and many runs take no more.

    Groups get smaller towards the end, so that no worker waits long for another one's last group. Source: guided
    self-scheduling, Polychronopoulos & Kuck, IEEE Transactions on Computers 36 (1987).
    """
    start = 0
    while start < len(places):
        size = min(max((len(places) - start) // (workers * SHARE), 1), LARGEST)
        yield list(places[start : start + size])
        start += size


def _died(task: Task, error: Any) -> WorkerDiedError:
    times = counted(error.allowed_failures + 1, "time")
    return WorkerDiedError(
        f"{described(task)} killed the worker that played it, {times}, the last time {error.last_worker.address}"
    )


# -- What runs on a worker

_alone = threading.Lock()


def play_alone(tasks: Sequence[Task]) -> list[Measured]:
    """Play tasks while no other thread of this process plays any."""
    with _alone:
        return [play(task) for task in tasks]


def _versions() -> str:
    return f"{source_version()}, numpy {np.__version__}"
