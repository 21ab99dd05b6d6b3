"""The event stream of a queue on Redis."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from queuesim.broker.redis.base import RedisQueue
from queuesim.broker.redis.eventreader import SeenEvents, event_id, read_from, read_page
from queuesim.events import Event, EventKind, EventPage
from queuesim.job import JobState

NUMBERS = {"count", "attemptsMade"}
KINDS = {kind.value for kind in EventKind}


class EventLog(RedisQueue):
    """Reading what happened."""

    @cached_property
    def _seen(self) -> SeenEvents:
        """What readers of this broker were given: by it a stream that lost its end is told from one that began anew."""
        return SeenEvents()

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events that came after the one of id `after`, oldest first. Their times are the server's own."""
        return (await self.read_events(after, limit)).events

    async def read_events(self, after: int, limit: int | None = None) -> EventPage:
        """As `events`, and whether any in between may be gone; see Broker.read_events."""
        page = await read_from(read_page(self._base + "events", after, self._seen, limit), self._place.command)
        events = [event for event in (self._event(*entry) for entry in page.entries) if event is not None]
        return EventPage(events, page.complete, page.last)

    def _event(self, stream_id: str, words: list[str]) -> Event | None:
        """None for a kind that we do not know: another version may have more."""
        fields: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
        name = fields.pop("event", None)
        if name not in KINDS:
            return None
        job_id = fields.pop("jobId", None)
        for key in NUMBERS & fields.keys():
            fields[key] = _number(int, fields[key])
        if fields.get("prev") in ("wait", "paused"):
            # as it is called where a job is removed, and only there (BullMQ 6.7)
            fields["prev"] = JobState.WAITING.value
        if name == EventKind.DELAYED and "delay" in fields:
            due = _number(float, fields["delay"])
            fields["delay"] = due if isinstance(due, str) else self._time(due)
        milliseconds = int(stream_id.partition("-")[0])
        return Event(event_id(stream_id, words), self._time(milliseconds), EventKind(name), job_id, fields)


def _number(kind: Callable[[str], float], text: str) -> Any:
    """A number of an event; the text itself where another program wrote something else."""
    try:
        return kind(text)
    except ValueError:
        return text
