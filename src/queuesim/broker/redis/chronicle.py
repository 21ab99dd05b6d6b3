"""The event stream of a queue, told to an observer as a broker in this process would tell it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from queuesim.broker.base import Observer
from queuesim.broker.redis.eventreader import Entry, Page, Reading, SeenEvents, read_page, stream_id
from queuesim.containment import Contained
from queuesim.events import EventKind
from queuesim.job import JobState, NewJob, number_of

KINDS = {kind.value: kind for kind in EventKind}
STATES = {state.value: state for state in JobState}

TICK = 0.002
"""Seconds by which a client's clock may be before the stream's, which has whole milliseconds."""
MOST_SUSPECTED = 1000
"""Of each type of jobs: what is suspected for long did not happen."""


class Chronicle:
    """Reads the stream, numbers jobs in the order of adding, and knows what was asked for when they were added.

    A job with an automatic id has that as its number. The counter of ids moves on for custom ids, too: so the number
    behind that of the job before is free.

    Args:
        stream: the key of the event stream.
        observer: who is told.
        time_of: turns milliseconds since the Unix epoch into the time that the observer has.
        errors: counts what the observer raises, in place of raising it.
    """

    def __init__(
        self, stream: str, observer: Observer, time_of: Callable[[float], float], errors: Contained | None = None
    ) -> None:
        self.numbers: dict[str, int] = {}
        """Of every job that was added, its latest if an id was used more than once."""
        self._lives: dict[str, list[tuple[float, int]]] = {}
        """Of each id that is not a number: when each job was added under it, and the job's number."""
        self.gaps: list[float] = []
        """Times before which events are gone that were not read: of the first one behind each gap."""
        self._stream = stream
        self._after = 0
        self._seen = SeenEvents()
        self.foreign: Callable[[str, str], NewJob] = lambda job_id, name: NewJob(name)
        """What is known, by its id and its type, of a job that nobody told of."""
        self._observer = observer
        self._errors = errors
        self._time_of = time_of
        self.last = 0
        """The number of the job that was added last."""
        self._expected: defaultdict[str, deque[tuple[NewJob, float]]] = defaultdict(deque)
        self._suspected: dict[str, deque[tuple[NewJob, float]]] = {}

    def number_at(self, job_id: str, time: float) -> int:
        """The number of the job that had an id at a time; 0 if the stream, as far as it was read, has none."""
        found = number_of(job_id)
        if found:
            return found
        for added, number in self._lives.get(job_id, ()):
            if not found or added <= time + TICK:
                found = number
        return found

    def expect(self, ids: Sequence[str], jobs: Sequence[NewJob], now: float) -> None:
        """These jobs were added under these ids, unless they were duplicates."""
        for job_id, job in zip(ids, jobs, strict=True):
            self._expected[job_id].append((job, now))

    def expect_no_more(self) -> None:
        """Whatever is expected still was a duplicate."""
        self._expected.clear()

    def give_up(self) -> None:
        """Whatever is expected still is not in the stream, though it was acknowledged: tell that it was added."""
        for job_id, expected in self._expected.items():
            # one with an id of its own may have been a duplicate
            for job, when in expected if job_id not in self.numbers else ():
                self.last = self.numbers[job_id] = number = number_of(job_id) or self.last + 1
                if not number_of(job_id):
                    self._lives.setdefault(job_id, []).append((when, number))
                self._tell_added(number, job_id, job, when)
        self._expected.clear()

    def suspect(self, jobs: Sequence[NewJob], now: float) -> None:
        """These jobs may have been added: the answer got lost, and with it their ids."""
        for job in jobs:
            self._suspected.setdefault(job.name, deque(maxlen=MOST_SUSPECTED)).append((job, now))

    def read_page(self, limit: int | None = None) -> Reading[Page]:
        """Read what is new in the stream, so many entries at most; see eventreader. Whether the observer is told of it,
        and when, is for `tell`."""
        page = yield from read_page(self._stream, self._after, self._seen, limit)
        if not page.complete and page.last != self._after:
            first = page.entries[0][0] if page.entries else stream_id(page.last)
            self.gaps.append(self._time_of(int(first.partition("-")[0])))
        self._after = page.last
        return page

    def tell(self, entries: Sequence[Entry]) -> None:
        """Tell the observer of entries of the stream."""
        told = [entry for entry in (self._entry(*entry) for entry in entries) if entry is not None]
        if told:
            try:
                self._observer.events(told)
            except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
                self._raised(error)

    def _entry(
        self, stream_id: str, words: Sequence[Any]
    ) -> tuple[float, EventKind, int, str | None, JobState | None, Any] | None:
        fields = dict(zip(words[::2], words[1::2], strict=True))
        kind = KINDS.get(fields.get("event", ""))
        if kind is None:
            return None
        time, job_id = self._time_of(int(stream_id.partition("-")[0])), fields.get("jobId")
        if kind is EventKind.ADDED and job_id is not None:
            self._added(job_id, fields.get("name", ""), time)
        number = 0 if job_id is None else self.numbers.get(job_id, 0)
        return time, kind, number, job_id, STATES.get(fields.get("prev", "")), None

    def _added(self, job_id: str, name: str, time: float) -> None:
        self.last = number = number_of(job_id) or self.last + 1
        self.numbers[job_id] = number
        if not number_of(job_id):
            self._lives.setdefault(job_id, []).append((time, number))
        expected = self._expected.get(job_id)
        job, when = expected.popleft() if expected else self._stranger(job_id, name, time)
        if expected is not None and not expected:
            del self._expected[job_id]
        timestamp = when if job.options.timestamp is None else job.options.timestamp
        self._tell_added(number, job_id, job, timestamp)

    def _tell_added(self, number: int, job_id: str, job: NewJob, timestamp: float) -> None:
        try:
            self._observer.added(number, job_id, job, timestamp)
        except BaseException as error:  # noqa: BLE001 - an observer may be anybody's code
            self._raised(error)

    def _raised(self, error: BaseException) -> None:
        if self._errors is None:
            raise error
        self._errors.raised(error)

    def _stranger(self, job_id: str, name: str, time: float) -> tuple[NewJob, float]:
        """What is known of a job that nobody expected, and since when."""
        suspected = self._suspected.get(name)
        if suspected is None:
            return self.foreign(job_id, name), time
        # most of them were tries that failed before the one that did not
        job, when = suspected.pop()
        if not suspected:
            del self._suspected[name]
        return job, when
