"""The event stream of a queue on Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

from queuesim.broker.redis.base import RedisQueue
from queuesim.events import Event, EventKind, EventPage
from queuesim.job import JobState

SEQUENCE_BITS, CHECK_BITS = 24, 16
"""An event's id is one whole number: the milliseconds and the sequence number of the stream's own id, and a checksum of
what the event says. A stream that begins anew within a millisecond gives ids of the old one again."""
NUMBERS = {"count", "attemptsMade"}
KINDS = {kind.value for kind in EventKind}


class EventLog(RedisQueue):
    """Reading what happened."""

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events that came after the one of id `after`, oldest first. Their times are the server's own."""
        return (await self.read_events(after, limit)).events

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        """As `events`, and whether any in between may be gone; see Broker.read_events."""
        if limit == 0:
            return EventPage([], True, after)
        if not after:
            return self._page(await self._entries("-", limit), True, after)
        # with the last one that was seen: while it is there, nothing is missing
        entries = await self._entries(_stream_id(after), None if limit is None else limit + 1)
        if entries and _event_id(*entries[0]) == after:
            return self._page(entries[1:], True, after)
        first = await self._entries("-", 1)
        if first and _event_id(*first[0]) >> CHECK_BITS <= after >> CHECK_BITS:
            # older ones are there without it: they are of another stream
            entries = await self._entries("-", limit)
        return self._page(entries if limit is None else entries[:limit], False, after)

    async def _entries(self, first: str, limit: int | None) -> list[tuple[str, list[str]]]:
        words = ("COUNT", limit) if limit is not None else ()
        entries: list[tuple[str, list[str]]] = await self._place.command(
            "XRANGE", self._base + "events", first, "+", *words
        )
        return entries

    def _page(self, entries: Sequence[tuple[str, list[str]]], complete: bool, after: int) -> EventPage:
        events = [event for event in (self._event(*entry) for entry in entries) if event is not None]
        return EventPage(events, complete, _event_id(*entries[-1]) if entries else after)

    def _event(self, stream_id: str, words: list[str]) -> Event | None:
        """None for a kind that we do not know: another version may have more."""
        fields: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
        name = fields.pop("event", None)
        if name not in KINDS:
            return None
        job_id = fields.pop("jobId", None)
        for key in NUMBERS & fields.keys():
            fields[key] = _number(int, fields[key])
        if fields.get("prev") == "wait":
            # as it is called where a job is removed, and only there (BullMQ 6.7)
            fields["prev"] = JobState.WAITING.value
        if name == EventKind.DELAYED and "delay" in fields:
            due = _number(float, fields["delay"])
            fields["delay"] = due if isinstance(due, str) else self._time(due)
        milliseconds = int(stream_id.partition("-")[0])
        return Event(_event_id(stream_id, words), self._time(milliseconds), EventKind(name), job_id, fields)


def _event_id(stream_id: str, words: Sequence[str]) -> int:
    milliseconds, _, sequence = stream_id.partition("-")
    check = crc32("\0".join(words).encode(errors="surrogatepass")) & (1 << CHECK_BITS) - 1
    return ((int(milliseconds) << SEQUENCE_BITS) + int(sequence) << CHECK_BITS) + check


def _stream_id(event_id: int) -> str:
    position = event_id >> CHECK_BITS
    return f"{position >> SEQUENCE_BITS}-{position & (1 << SEQUENCE_BITS) - 1}"


def _number(kind: Callable[[str], float], text: str) -> Any:
    """A number of an event; the text itself where another program wrote something else."""
    try:
        return kind(text)
    except ValueError:
        return text
