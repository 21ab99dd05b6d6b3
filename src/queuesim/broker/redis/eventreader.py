"""Reading on in an event stream, and finding out whether anything between two looks is gone.

A stream loses entries in three ways. Its oldest are trimmed. It begins anew: after an obliterate, or on a server that
restarted with an empty memory. Or its newest are lost: a server restarted on what it had on disk, or a replica was
promoted. In the last two its ids may come again, for other entries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from zlib import crc32

SEQUENCE_BITS, CHECK_BITS = 24, 16
"""An event's id is one whole number: the milliseconds and the sequence number of the stream's own id, and a checksum of
what the event says. A stream that begins anew within a millisecond gives ids of the old one again."""
REMEMBERED = 20_000
"""Event ids. By default a stream has half as many entries (BullMQ 6.7): so all that it may still hold are known."""
AT_ONCE = 1000
"""Entries that are looked at in one go, in search of one that was seen."""

Entry = tuple[str, list[str]]
"""An entry as XRANGE gives it: the stream's own id, and field names and values in turn."""
Command = tuple[Any, ...]
T = TypeVar("T")
Reading = Generator[Command, list[Entry], T]
"""Yields commands and is sent their answers: a server is asked in a loop, fakeredis without one."""


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
class Page:
    """What was read at one time."""

    entries: list[Entry]
    """Oldest first."""
    complete: bool
    """False if entries between the last one that was seen and these may be gone."""
    last: int
    """The id to read on after."""


def read_page(stream: str, after: int, seen: SeenEvents, limit: int | None = None) -> Reading[Page]:
    """Read what came after the event of an id; 0: all that there is.

    If that event is gone, reading goes on behind the last one that was seen and is still there. If there is none, it
    goes on at the beginning.

    Args:
        stream: its key.
        seen: what was read before; what is read now is added.
        limit: entries at most.
    """
    if limit == 0:
        return Page([], True, after)
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
    return Page(entries, complete, event_id(*entries[-1]) if entries else after)


def _last_seen(stream: str, after: int, seen: SeenEvents) -> Reading[Entry | None]:
    """The newest entry that a reader saw which has read up to `after`; None: the stream has none, or begins anew.

    Entries are read in their order. So it has seen all that are known and not behind `after`. A stream that is no older
    than `after` has begun anew: its first entries may say the same as those of the old one did, under the same ids.
    """
    first = yield _range(stream, "-", 1)
    if not first or _milliseconds(first[0][0]) >= _milliseconds(stream_id(after)):
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


def _milliseconds(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])


def _range(stream: str, first: str, limit: int | None) -> Command:
    return ("XRANGE", stream, first, "+", *(() if limit is None else ("COUNT", limit)))


async def read_from(reading: Reading[T], command: Callable[..., Awaitable[Any]]) -> T:
    """What a reading comes to on a server."""
    answer: Any = None
    while True:
        try:
            words = reading.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = await command(*words)


def read_now(reading: Reading[T], command: Callable[..., Any]) -> T:
    """What a reading comes to where commands are answered at once."""
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
