"""What a worker process counts, for Prometheus."""

from __future__ import annotations

from queuesim.broker.base import Outcome
from queuesim.containment import LOG_HANDLERS, Contained
from queuesim.extras import need
from queuesim.job import Job
from queuesim.worker import Worker, WorkerObserver

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""


class Metrics:
    """Counters of one worker process, in a registry of their own.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, queue: str) -> None:
        prometheus = need("prometheus_client", "worker", "metrics of worker processes")
        self.registry = prometheus.CollectorRegistry()
        labels = ("queue", "name")
        self._attempts = prometheus.Counter(
            "queuesim_attempts", "Attempts that ended, by outcome.", (*labels, "outcome"), registry=self.registry
        )
        self._seconds = prometheus.Histogram(
            "queuesim_attempt_seconds", "Time from start to end.", labels, buckets=BUCKETS, registry=self.registry
        )
        self._waits = prometheus.Histogram(
            "queuesim_pickup_seconds",
            "Time from being added, and its delay, to the first start.",
            labels,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._running = prometheus.Gauge("queuesim_running", "Jobs that run.", ("queue",), registry=self.registry)
        self._jobs = prometheus.Gauge("queuesim_jobs", "Jobs by state.", ("queue", "state"), registry=self.registry)
        self._errors = prometheus.Gauge(
            "queuesim_contained_errors",
            "Errors of the log, of metrics and of observers, which harmed no job.",
            ("queue", "source"),
            registry=self.registry,
        )
        self._queue = queue
        self.errors = Contained("the metrics")
        """What counting raised."""
        self._contained = {"metrics": self.errors, "log handlers": LOG_HANDLERS}

    def beside(self, other: WorkerObserver, errors: Contained) -> WorkerObserver:
        """An observer that tells these metrics and another one, which counts its own `errors`."""
        self._contained["log"] = errors
        return _Both(self, other)

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        """See WorkerObserver. Raises nothing."""
        try:
            self._count(job, ended, outcome, lost)
        except BaseException as error:  # noqa: BLE001 - whatever breaks here, others are still to be told
            self.errors.raised(error)

    def _count(self, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        kind = "lost" if lost else type(outcome).__name__.lower()
        self._attempts.labels(self._queue, job.name, kind).inc()
        if job.processed_on is not None:
            self._seconds.labels(self._queue, job.name).observe(max(ended - job.processed_on, 0.0))
            if job.attempts_started == 1:
                waited = job.processed_on - job.timestamp - job.options.delay
                self._waits.labels(self._queue, job.name).observe(max(waited, 0.0))

    async def text(self, worker: Worker) -> bytes:
        """All of it in Prometheus's format, with the queue's counts as they are now."""
        prometheus = need("prometheus_client", "worker", "metrics of worker processes")
        self._running.labels(self._queue).set(len(worker.running))
        for source, errors in {**self._contained, "observer": worker.observer_errors}.items():
            self._errors.labels(self._queue, source).set(errors.count)
        for state, count in (await worker.broker.counts()).items():
            self._jobs.labels(self._queue, str(state)).set(count)
        text: bytes = prometheus.generate_latest(self.registry)
        return text


class _Both:
    def __init__(self, first: WorkerObserver, second: WorkerObserver) -> None:
        self._observers = (first, second)

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        for observer in self._observers:
            observer.attempt(worker, slot, job, ended, outcome, lost)
