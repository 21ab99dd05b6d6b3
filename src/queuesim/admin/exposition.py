"""Metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from queuesim.admin.metering import Metrics


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
