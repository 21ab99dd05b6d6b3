"""The event stream of a queue on Redis."""

from __future__ import annotations

from typing import Any

from queuesim.broker.redis.base import RedisQueue
from queuesim.events import Event, EventKind
from queuesim.job import JobState

SEQUENCE_BITS = 40
"""An event's id is the stream's own, milliseconds and a sequence number, in one whole number."""
NUMBERS = {"count", "attemptsMade"}
KINDS = {kind.value for kind in EventKind}


class EventLog(RedisQueue):
    """Reading what happened."""

    async def events(self, after: int, limit: int | None = None) -> list[Event]:
        """Events with an id above `after`, oldest first. Their times are the server's own."""
        first = f"({_stream_id(after)}" if after else "-"
        words = ("COUNT", limit) if limit is not None else ()
        if limit == 0:
            return []
        entries = await self._place.command("XRANGE", self._base + "events", first, "+", *words)
        return [event for event in (self._event(*entry) for entry in entries) if event is not None]

    def _event(self, stream_id: str, words: list[str]) -> Event | None:
        """None for a kind that we do not know: another version may have more."""
        fields: dict[str, Any] = dict(zip(words[::2], words[1::2], strict=True))
        name = fields.pop("event", None)
        if name not in KINDS:
            return None
        job_id = fields.pop("jobId", None)
        for key in NUMBERS & fields.keys():
            fields[key] = int(fields[key])
        if fields.get("prev") == "wait":
            # as it is called where a job is removed, and only there (BullMQ 6.7)
            fields["prev"] = JobState.WAITING.value
        if name == EventKind.DELAYED and "delay" in fields:
            fields["delay"] = self._time(float(fields["delay"]))
        milliseconds, _, sequence = stream_id.partition("-")
        event_id = (int(milliseconds) << SEQUENCE_BITS) + int(sequence)
        return Event(event_id, self._time(int(milliseconds)), EventKind(name), job_id, fields)


def _stream_id(event_id: int) -> str:
    return f"{event_id >> SEQUENCE_BITS}-{event_id & (1 << SEQUENCE_BITS) - 1}"
