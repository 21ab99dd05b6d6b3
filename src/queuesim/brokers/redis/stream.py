"""The event stream of a queue: reading on in it, finding gaps, and reporting it to an observer."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from zlib import crc32

from queuesim.core.broker import Observer
from queuesim.core.containment import Contained
from queuesim.core.events import EventKind
from queuesim.core.job import JobState, NewJob, number_of

SEQUENCE_BITS, CHECK_BITS = 24, 16
"""An event's id is one whole number: the milliseconds and the sequence number of the stream's own id, and a checksum of
what the event says. A stream that begins anew within a millisecond gives ids of the old one again."""
REMEMBERED = 20_000
"""Event ids. By default a stream has half as many entries (BullMQ 6.7), so that all that it may hold are known."""
AT_ONCE = 1000
"""Entries of one page in the search for one that was seen."""
KINDS = {kind.value: kind for kind in EventKind}
STATES = {state.value: state for state in JobState}
TICK = 0.002
"""Seconds by which a client's clock may be before the stream's, which has whole milliseconds."""
MAX_SUSPECTED = 1000
"""Maximum number of suspected jobs of each type: what is suspected for long did not happen."""

Entry = tuple[str, list[str]]
"""An entry as XRANGE gives it: the stream's own id, and field names and values in turn."""
Command = tuple[Any, ...]
T = TypeVar("T")
Reading = Generator[Command, list[Entry], T]
"""Yields commands and is sent their answers: a server answers in an event loop, fakeredis without one."""


class SeenEvents:
    """The ids of the last events that were read."""

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}

    def __contains__(self, event_id: int) -> bool:
        return event_id in self._ids

    def add(self, entries: Sequence[Entry]) -> None:
        """Remember entries, and forget the oldest beyond `REMEMBERED`."""
        self._ids.update((event_id(*entry), None) for entry in entries)
        for oldest in list(self._ids)[: len(self._ids) - REMEMBERED] if len(self._ids) > 2 * REMEMBERED else ():
            del self._ids[oldest]


@dataclass(frozen=True, slots=True)
class StreamPage:
    """The result of one reading."""

    entries: list[Entry]
    """Oldest first."""
    complete: bool
    """False if entries between the last one that was seen and these may be gone."""
    last: int
    """The id to read on after."""


def read_page(stream: str, after: int, seen: SeenEvents, limit: int | None = None) -> Reading[StreamPage]:
    """Read the entries after the event of an id; 0: all that there are.

    If that event is gone, reading goes on behind the last one that was seen and is still there; if there is none, at
    the beginning.

    Args:
        stream: its key.
        seen: what was read before. The entries of this page are added.
        limit: the maximum number of entries.
    """
    if limit == 0:
        return StreamPage([], True, after)
    complete = True
    entries = yield _range(stream, stream_id(after) if after else "-", None if limit is None else limit + 1)
    if after and entries and event_id(*entries[0]) == after:
        entries = entries[1:]
    elif after:
        complete = False
        last = yield from _last_seen(stream, after, seen)
        entries = yield _range(stream, "-" if last is None else f"({last[0]}", limit)
        after = after if last is None else event_id(*last)
    if limit is not None:
        entries = entries[:limit]
    seen.add(entries)
    return StreamPage(entries, complete, event_id(*entries[-1]) if entries else after)


def _last_seen(stream: str, after: int, seen: SeenEvents) -> Reading[Entry | None]:
    """The newest entry that a reader saw which has read up to `after`; None: the stream has none, or begins anew.

    Entries are read in order, so it has seen all that are known and not behind `after`. A stream that is no older than
    `after` has begun anew: its first entries may be the same as those of the old one, under the same ids.
    """
    first = yield _range(stream, "-", 1)
    if not first or stamp_of(first[0][0]) >= stamp_of(stream_id(after)):
        return None
    end = stream_id(after)
    while True:
        entries = yield ("XREVRANGE", stream, end, "-", "COUNT", AT_ONCE)
        for entry in entries:
            if event_id(*entry) in seen:
                return entry
        if len(entries) < AT_ONCE:
            return None
        end = f"({entries[-1][0]}"


def stamp_of(entry_id: str) -> int:
    """When an entry was added, by the server's clock, in milliseconds since the Unix epoch."""
    return int(entry_id.partition("-")[0])


def _range(stream: str, first: str, limit: int | None) -> Command:
    return ("XRANGE", stream, first, "+", *(() if limit is None else ("COUNT", limit)))


async def read_from(reading: Reading[T], command: Callable[..., Awaitable[Any]]) -> T:
    """The result of a reading on a server."""
    answer: Any = None
    while True:
        try:
            words = reading.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = await command(*words)


def read_now(reading: Reading[T], command: Callable[..., Any]) -> T:
    """The result of a reading where commands are answered at once."""
    answer: Any = None
    while True:
        try:
            words = reading.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = command(*words)


def event_id(entry_id: str, words: Sequence[str]) -> int:
    """The id of an event, from its entry of the stream."""
    milliseconds, _, sequence = entry_id.partition("-")
    check = crc32("\0".join(words).encode(errors="surrogatepass")) & (1 << CHECK_BITS) - 1
    return ((int(milliseconds) << SEQUENCE_BITS) + int(sequence) << CHECK_BITS) + check


def stream_id(event_id: int) -> str:
    """The stream's own id of an event."""
    position = event_id >> CHECK_BITS
    return f"{position >> SEQUENCE_BITS}-{position & (1 << SEQUENCE_BITS) - 1}"


class EventStreamReader:
    """Reads the stream and reports it to an observer as a broker in this process would.

    It numbers jobs in the order of adding, and knows what producers asked for. A job with an automatic id has that as
    its number. The counter of ids moves on for custom ids, too, so that the number after the last one is free.

    Args:
        stream: the key of the event stream.
        observer: who gets the events.
        time_of: turns milliseconds since the Unix epoch into the observer's time.
        errors: counts errors of the observer, which are raised if it is None.
    """

    def __init__(
        self, stream: str, observer: Observer, time_of: Callable[[float], float], errors: Contained | None = None
    ) -> None:
        self.numbers: dict[str, int] = {}
        """By job id; the latest if an id was used more than once."""
        self._lives: dict[str, list[tuple[float, int]]] = {}
        """By id that is not a number: when each job was added under it, and the job's number."""
        self.gaps: list[float] = []
        """The time of the first event after each gap, that is, after events that are gone and were not read."""
        self._stream = stream
        self._after = 0
        self._seen = SeenEvents()
        self.foreign: Callable[[str, str], NewJob] = lambda job_id, name: NewJob(name)
        """Makes a job that no producer announced, by its id and its type."""
        self._observer = observer
        self._errors = errors
        self._time_of = time_of
        self.last = 0
        """The number of the job that was added last."""
        self._expected: defaultdict[str, deque[tuple[NewJob, float]]] = defaultdict(deque)
        self._suspected: dict[str, deque[tuple[NewJob, float]]] = {}

    def number_at(self, job_id: str, time: float) -> int:
        """The number of the job that had an id at a time; 0 if no such job was read."""
        found = number_of(job_id)
        if found:
            return found
        for added, number in self._lives.get(job_id, ()):
            if not found or added <= time + TICK:
                found = number
        return found

    def expect(self, ids: Sequence[str], jobs: Sequence[NewJob], now: float) -> None:
        """Announce that jobs were added under these ids, unless they were duplicates."""
        for job_id, job in zip(ids, jobs, strict=True):
            self._expected[job_id].append((job, now))

    def expect_no_more(self) -> None:
        """All jobs that are still expected were duplicates."""
        self._expected.clear()

    def report_expected(self) -> None:
        """Report jobs that are not in the stream though a server acknowledged them."""
        for job_id, expected in self._expected.items():
            # one with an id of its own may have been a duplicate
            for job, when in expected if job_id not in self.numbers else ():
                self.last = self.numbers[job_id] = number = number_of(job_id) or self.last + 1
                if not number_of(job_id):
                    self._lives.setdefault(job_id, []).append((when, number))
                self._report_added(number, job_id, job, when)
        self._expected.clear()

    def suspect(self, jobs: Sequence[NewJob], now: float) -> None:
        """Announce that jobs may have been added: the answer was lost, and with it their ids."""
        for job in jobs:
            self._suspected.setdefault(job.name, deque(maxlen=MAX_SUSPECTED)).append((job, now))

    def read_page(self, limit: int | None = None) -> Reading[StreamPage]:
        """Read the entries after those that were reported, `limit` at most. `report` passes them on."""
        return (yield from read_page(self._stream, self._after, self._seen, limit))

    def report(self, page: StreamPage) -> None:
        """Report the entries of a page to the observer. The next page begins after it.

        A page that is not reported, because its reader was interrupted, is read again.
        """
        if not page.complete and page.last != self._after:
            first = page.entries[0][0] if page.entries else stream_id(page.last)
            self.gaps.append(self._time_of(stamp_of(first)))
        self._after = page.last
        events = [event for event in (self._event(*entry) for entry in page.entries) if event is not None]
        if events:
            self._call(self._observer.events, events)

    def _event(
        self, stream_id: str, words: Sequence[Any]
    ) -> tuple[float, EventKind, int, str | None, JobState | None, Any] | None:
        fields = dict(zip(words[::2], words[1::2], strict=True))
        kind = KINDS.get(fields.get("event", ""))
        if kind is None:
            return None
        time, job_id = self._time_of(stamp_of(stream_id)), fields.get("jobId")
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
        job, when = expected.popleft() if expected else self._unexpected(job_id, name, time)
        if expected is not None and not expected:
            del self._expected[job_id]
        timestamp = when if job.options.timestamp is None else job.options.timestamp
        self._report_added(number, job_id, job, timestamp)

    def _report_added(self, number: int, job_id: str, job: NewJob, timestamp: float) -> None:
        self._call(self._observer.added, number, job_id, job, timestamp)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call the observer. Its errors are raised if nobody contains them."""
        if self._errors is None:
            function(*arguments)
        else:
            self._errors.call(function, *arguments)

    def _unexpected(self, job_id: str, name: str, time: float) -> tuple[NewJob, float]:
        """A job that was not expected, and when it was added."""
        suspected = self._suspected.get(name)
        if suspected is None:
            return self.foreign(job_id, name), time
        # the last try is the likeliest: those before it failed
        job, when = suspected.pop()
        if not suspected:
            del self._suspected[name]
        return job, when
