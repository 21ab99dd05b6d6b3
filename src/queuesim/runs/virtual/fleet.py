"""The fleet: a run's workers, each in a process of its own, that start, end, die and are replaced."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from queuesim.core.broker import Broker
from queuesim.core.clock import now
from queuesim.core.job import Job, JobState
from queuesim.core.worker import Worker
from queuesim.faults.base import FaultContext
from queuesim.results.recorder import Recorder
from queuesim.results.recording import Ending
from queuesim.runs.worker_clock import RunClockRecorder, WorkerClock
from queuesim.scenario.queue_settings import WorkerSettings, name_workers, unused
from queuesim.simulation.process import CURRENT, Process, State

FATES = {JobState.COMPLETED: Ending.OK, JobState.FAILED: Ending.FAILED}
"""How the last attempt ended of a job in such a state."""

Task = asyncio.Task[None]
Launch = Callable[[Coroutine[Any, Any, None], str, Context], Task]
"""Starts a part of the run in a context."""


class Make(Protocol):
    """Makes the worker of a member, for its present life."""

    def __call__(self, member: Member) -> Worker: ...


@dataclass(eq=False)
class Member:
    """A place in the fleet: one worker after the other bears its name."""

    name: str
    settings: WorkerSettings
    lives: int = 0
    """How many workers there were, the present one included."""
    joined: float = 0.0
    """When it came into the fleet, in seconds since the run began."""
    wanted: bool = True
    """Whether there is to be a worker: not if the fleet was made smaller, or if one died for good."""
    clock: WorkerClock = field(default_factory=lambda: WorkerClock(now))
    worker: Worker | None = None
    records: RunClockRecorder | None = None
    """What turns its worker's times into those of the run, if its clock may be wrong."""
    process: Process = field(init=False)
    task: Task | None = None

    @property
    def skew(self) -> float:
        """Seconds that its clock is ahead."""
        return self.clock.skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        self.clock.skew = seconds

    def recorded(self, job: Job) -> tuple[Job, float]:
        """A job that its worker runs as the run's records have it, and the skew of the worker's clock at its start."""
        return (job, 0.0) if self.records is None else self.records.of_the_run(job)

    @property
    def alive(self) -> bool:
        """Whether a worker is there: one that starts, runs, stands still or closes."""
        return self.task is not None and not self.task.done() and self.process.state is not State.DEAD

    @property
    def token(self) -> str:
        """First part of its worker's lock tokens: no two workers share one."""
        return self.name if self.lives == 1 else f"{self.name}.{self.lives}"


class Fleet:
    """All workers of a run.

    Args:
        kinds: the workers that the scenario asks for.
        make: makes a member's worker.
        launch: starts a part of the run.
        broker: the queue itself, without what stands between it and the workers.
    """

    def __init__(
        self, kinds: tuple[WorkerSettings, ...], make: Make, launch: Launch, broker: Broker, recorder: Recorder
    ) -> None:
        self.members: list[Member] = []
        self._make = make
        self._launch = launch
        self._broker = broker
        self._recorder = recorder
        self._present: dict[str, float] = {}
        self._presence: list[tuple[str, float, float]] = []
        self.start_delay: Callable[[Member], float] | None = None
        """How long a worker takes to start, for whoever slows that down."""
        self.gone: Callable[[Member], None] | None = None
        """Told of every worker that ends or dies."""
        for name, settings in name_workers(kinds):
            self.members.append(Member(name, settings))

    @property
    def workers(self) -> list[Worker]:
        """The present worker of every member, or its last one."""
        return [member.worker for member in self.members if member.worker is not None]

    @property
    def presence(self) -> list[tuple[str, float, float]]:
        """(worker, since, until) for each time that a worker took jobs; infinity: to the end."""
        return [*self._presence, *((name, since, math.inf) for name, since in self._present.items())]

    def _leaves(self, member: Member) -> None:
        """It takes no more jobs from now on."""
        since = self._present.pop(member.name, None)
        if since is not None:
            self._presence.append((member.name, since, now()))

    @property
    def running(self) -> list[Member]:
        """The members that run now: neither frozen nor dead."""
        return [member for member in self.members if member.alive and member.process.runs]

    def add(self, settings: WorkerSettings, name: str, joined: float = 0.0) -> Member:
        """One more member, which does not work yet. Its name is changed if another one has it."""
        member = Member(unused(name, {other.name for other in self.members}), settings, joined=joined)
        self.members.append(member)
        return member

    def prepare(self) -> None:
        """Make the first worker of every member."""
        for member in self.members:
            self._bear(member)

    def start(self) -> None:
        """Let all members work, each from its time on."""
        for member in self.members:
            self._run(member, member.settings.start)

    def revive(self, member: Member) -> None:
        """Start the successor of a worker that ended or died, if one is wanted. Harmless if one is there."""
        if member.wanted and not member.alive:
            self._bear(member)
            self._run(member, 0.0)

    async def arrived(self, member: Member) -> None:
        """Return when a worker that was just started takes jobs: here it does so at once."""

    def _bear(self, member: Member) -> None:
        member.lives += 1
        # a process of its own: what blocks one worker's event loop does not block another's
        member.process = Process(member.name)
        member.worker = self._make(member)

    def _run(self, member: Member, delay: float) -> None:
        worker = member.worker
        assert worker is not None
        slow = 0.0 if self.start_delay is None else self.start_delay(member)

        async def work() -> None:
            if delay + slow:
                await asyncio.sleep(delay + slow)
            self._present[member.name] = now()
            await worker.run()
            if member.worker is worker:
                self._leaves(member)

        member.task = self._launch(work(), member.name, member.process.context)

    async def kill(self, member: Member) -> int:
        """End a worker as by SIGKILL. Returns how many attempts died with it."""
        if not member.alive:
            return 0
        assert member.worker is not None
        running, member.worker.running = member.worker.running, {}
        member.process.kill()
        self._leaves(member)
        if self.gone is not None:
            self.gone(member)
        await self._interrupted(member, running)
        return len(running)

    async def retire(self, member: Member, grace: float) -> int:
        """End a worker gracefully; after `grace` seconds, kill it. Returns how many attempts did not end."""
        if not member.alive:
            return 0
        assert member.worker is not None
        assert member.task is not None
        self._leaves(member)
        if await member.worker.close(timeout=grace):
            await asyncio.wait([member.task], timeout=grace)
        if member.task.done() and self.gone is not None:
            self.gone(member)
        return await self.kill(member)

    def kill_all(self) -> None:
        """The run is over."""
        for member in self.members:
            if member.worker is not None:
                member.process.kill()

    async def _interrupted(self, member: Member, running: dict[int, Job]) -> None:
        died = asyncio.get_running_loop().time()
        for slot, job in sorted(running.items()):
            ending = await self.fate(job) or Ending.LOST
            told, skew = member.recorded(job)
            self._recorder.interrupted(member.name, slot, told, died, ending, skew)

    async def fate(self, job: Job) -> Ending | None:
        """How an attempt ended whose worker never heard the answer to its last exchange; None: it did not end."""
        stored = await self._broker.get(job.id)
        if stored is None or stored.attempts_started != job.attempts_started:
            return None
        state = await self._broker.state(job.id)
        return None if state is None else FATES.get(state)


class VirtualFaultContext(FaultContext):
    """A simulated run as its faults see it."""

    def here(self) -> Member | None:
        """The worker in which this code runs."""
        process = CURRENT.get(None)
        return next((member for member in self.fleet.members if member.alive and member.process is process), None)
