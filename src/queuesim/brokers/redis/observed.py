"""A queue on fakeredis that tells an observer of everything, as the memory broker does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from queuesim.brokers.redis.broker import RedisBroker
from queuesim.brokers.redis.codec import decode_job
from queuesim.brokers.redis.fake import FakePlace, Image
from queuesim.brokers.redis.scripts import script
from queuesim.brokers.redis.stream import Chronicle, read_now
from queuesim.core.broker import FlowRow, Observer, Outcome, Reply, Terms
from queuesim.core.job import Job, JobId, JobState, NewJob

READ_AFTER = 500
"""Calls after which the event stream is read, long before any of it is trimmed."""
UNFINISHED = (
    JobState.WAITING,
    JobState.PRIORITIZED,
    JobState.DELAYED,
    JobState.ACTIVE,
    JobState.WAITING_CHILDREN,
)


class ObservedBroker(RedisBroker):
    """The Redis broker on fakeredis, for a simulation: it can be asked at any moment, without a loop."""

    def __init__(self, queue: str, place: FakePlace, prefix: str = "bull", *, origin: float = 0.0) -> None:
        super().__init__(queue, place, prefix, origin=origin)
        self._fake = place
        self._chronicle: Chronicle | None = None
        self._calls = 0

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of everything that happens from now on."""
        self._observer = observer
        self._chronicle = Chronicle(f"{self._base}events", observer, self._time, self.observer_errors)

    @property
    def idle(self) -> bool:
        """No job waits, is delayed or runs."""
        waiting, prioritized, delayed, active, *_ = self._fake.run_now(script("counts"), self._base, ())
        return not (waiting or prioritized or delayed or active)

    def flush(self) -> None:
        """Tell the observer what it was not told yet."""
        self._calls = 0
        chronicle = self._chronicle
        if chronicle is not None:
            # nothing is trimmed before it is read; what else a fault takes from the stream, it takes with the jobs
            chronicle.tell(read_now(chronicle.read_page(), self._fake.command_now).entries)

    def _called(self) -> None:
        self._calls += 1
        if self._calls >= READ_AFTER:
            self.flush()

    async def add(self, jobs: Sequence[NewJob], now: float) -> list[JobId]:
        """Add jobs and return their ids; see Broker.add."""
        ids = await super().add(jobs, now)
        if self._chronicle is not None:
            self._chronicle.expect(ids, jobs, now)
            if len(jobs) > 1 or jobs[0].options.job_id is not None or jobs[0].options.deduplication is not None:
                # which of them were duplicates is best seen at once
                self.flush()
                self._chronicle.expect_no_more()
        self._called()
        return ids

    async def add_flow(self, rows: Sequence[FlowRow], now: float) -> int:
        """Add a tree of jobs; see Broker.add_flow."""
        taken = await super().add_flow(rows, now)
        if self._chronicle is not None and not taken:
            mine = [row for row in rows if row.queue == self.queue]
            self._chronicle.expect([row.id for row in mine], [row.new_job() for row in mine], now)
            self.flush()
        self._called()
        return taken

    async def exchange(
        self, outcomes: Sequence[Outcome], take: int, terms: Terms, token: str, now: float, again: bool = False
    ) -> Reply:
        """Hand in outcomes and take jobs; see Broker.exchange."""
        reply = await super().exchange(outcomes, take, terms, token, now, again)
        for job in reply.jobs:
            self._number(job)
        self._called()
        return reply

    def _snapshot(self, row: Sequence[Any]) -> Job:
        job = decode_job(row, self, self.origin)
        self._number(job)
        return job

    def _number(self, job: Job) -> None:
        """A job with a custom id has a number by the order of adding alone."""
        if job.number == 0 and self._chronicle is not None:
            if job.id not in self._chronicle.numbers:
                self.flush()
            job.number = self._chronicle.numbers.get(job.id, 0)

    # -- what can happen to a server

    def save(self) -> Image:
        """What all queues of the place hold now; see FakePlace.save."""
        self.flush()
        return self._fake.save()

    def restore(self, image: Image) -> None:
        """Undo everything that happened since `save`."""
        self.flush()
        self._fake.restore(image)

    def forget(self) -> None:
        """Lose everything, as a server without persistence does when it restarts."""
        self.restore({})

    async def flush_scripts(self) -> None:
        """Forget all scripts."""
        await self._fake.command("SCRIPT", "FLUSH")

    # -- what no event tells of

    async def drain(self, delayed: bool, now: float) -> None:
        """Remove what waits, and what is delayed if asked."""
        parents = await self._parents()
        removed = [job_id async for page in self._drained(delayed) for job_id in page]
        self._tell_removed([*removed, *sorted(parents - await self._parents())])

    async def clean(self, grace: float, limit: int, state: JobState, now: float) -> list[str]:
        """Remove old jobs of one state; locked ones stay. See Broker.clean."""
        parents = await self._parents()
        removed = await super().clean(grace, limit, state, now)
        gone = sorted(parents - await self._parents())
        self._tell_removed(gone if state in (JobState.COMPLETED, JobState.FAILED) else [*removed, *gone])
        return removed

    async def _parents(self) -> set[str]:
        """The jobs that wait for children: those of them that go when their children are removed are removed, too."""
        return {job.id for job in await self.jobs(JobState.WAITING_CHILDREN, 0, -1, True)}

    async def obliterate(self, force: bool, now: float) -> None:
        """Remove everything; see Broker.obliterate."""
        unfinished = [job.id for state in UNFINISHED for job in await self.jobs(state, 0, -1, True)]
        self.flush()
        await super().obliterate(force, now)
        self._tell_removed(unfinished)

    def _tell_removed(self, ids: Sequence[str]) -> None:
        self.flush()
        if self._observer is not None and self._chronicle is not None:
            numbers = [self._chronicle.numbers[job_id] for job_id in ids]
            try:
                self._observer.removed(numbers)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self.observer_errors.raised(error)
