"""Queue metrics from the queue's own events, whoever works it: processed, failed, how long it took, how it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from queuesim.core.clock import now
from queuesim.core.events import Event, EventKind
from queuesim.core.job import JobState
from queuesim.core.queue import Queue

MOST_ACTIVE = 100_000
"""So many starts are remembered whose ends were not seen yet."""
ENOUGH = 20
"""Jobs from which on a success rate means something."""
POOR = 0.9
"""Below this success rate a queue is not well."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of a queue since they were last reset. Times are seconds."""

    queue: str
    since: float
    processed: int
    failed: int
    average_processing_time: float | None
    success_rate: float | None
    health: str
    """healthy, or degraded: paused, or more than one in ten jobs fails."""
    paused: bool
    counts: dict[str, int]
    """Jobs by state, now."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "json_schema_extra": {
            "examples": [
                {
                    "queue": "task-processing", "since": 1735689600.0, "processed": 981, "failed": 4,
                    "average_processing_time": 0.118, "success_rate": 0.9959, "health": "healthy", "paused": False,
                    "counts": {"waiting": 12, "active": 5, "delayed": 2, "completed": 100, "failed": 4},
                }
            ]
        }
    }  # fmt: skip
    """For the OpenAPI document."""


class Meter:
    """Counts the outcomes of a queue's jobs."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._last = 0
        self._started: OrderedDict[str, float] = OrderedDict()
        self.reset()

    def reset(self) -> None:
        """Count from zero again."""
        self._since: float | None = None
        self._processed = self._failed = self._timed = 0
        self._seconds = 0.0

    async def follow(self) -> None:
        """Look at the events that came since the last look."""
        if self._since is None:
            self._since = now()
        page = await self.queue.read_events(self._last)
        if not page.complete:
            # ends may be among what is missing, and ids may be those of other jobs now
            self._started.clear()
        for event in page.events:
            self._count(event)
        self._last = page.last

    def _count(self, event: Event) -> None:
        if event.job_id is None:
            return
        if event.kind is EventKind.ACTIVE:
            self._started[event.job_id] = event.time
            if len(self._started) > MOST_ACTIVE:
                self._started.popitem(last=False)
        elif event.kind in (EventKind.COMPLETED, EventKind.FAILED):
            self._processed += event.kind is EventKind.COMPLETED
            self._failed += event.kind is EventKind.FAILED
            started = self._started.pop(event.job_id, None)
            if started is not None:
                self._timed += 1
                self._seconds += event.time - started

    async def read(self) -> Metrics:
        """The metrics now."""
        await self.follow()
        counts, paused = await self.queue.counts(), await self.queue.is_paused()
        ended = self._processed + self._failed
        rate = self._processed / ended if ended else None
        poor = ended >= ENOUGH and rate is not None and rate < POOR
        return Metrics(
            queue=self.queue.name,
            since=0.0 if self._since is None else self._since,
            processed=self._processed,
            failed=self._failed,
            average_processing_time=self._seconds / self._timed if self._timed else None,
            success_rate=rate,
            health="degraded" if paused or poor else "healthy",
            paused=paused,
            counts={state.value: counts[state] for state in JobState},
        )


# -- Metrics in the text format of Prometheus


def exposition(metrics: Metrics) -> tuple[bytes, str]:
    """The text, and its content type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    class Collector:
        def collect(self) -> Iterator[Any]:
            """What Prometheus's client asks for."""
            labels = [metrics.queue]
            for name, text, value in (
                ("processed", "Jobs that completed", metrics.processed),
                ("failed", "Jobs that failed for good", metrics.failed),
            ):
                counter = CounterMetricFamily(f"queuesim_jobs_{name}", text, labels=["queue"])
                counter.add_metric(labels, value)
                yield counter
            jobs = GaugeMetricFamily("queuesim_jobs", "Jobs by state", labels=["queue", "state"])
            for state, count in metrics.counts.items():
                jobs.add_metric([metrics.queue, state], count)
            yield jobs
            for name, text, gauge in (
                ("paused", "Whether the queue is paused", float(metrics.paused)),
                ("average_processing_seconds", "From start to end of an attempt", metrics.average_processing_time),
            ):
                if gauge is not None:
                    family = GaugeMetricFamily(f"queuesim_{name}", text, labels=["queue"])
                    family.add_metric(labels, gauge)
                    yield family

    registry = CollectorRegistry()
    registry.register(Collector())
    return generate_latest(registry), CONTENT_TYPE_LATEST
