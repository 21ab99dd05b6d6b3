"""The port of a worker process: /health for its supervisor, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from queuesim.brokers.redis.server import RealServer
from queuesim.core.broker import Outcome
from queuesim.core.containment import LOG_HANDLERS, Contained, log
from queuesim.core.errors import BrokerUnavailableError
from queuesim.core.job import Job
from queuesim.core.worker import Worker, WorkerObserver
from queuesim.extras import need

# -- What a worker process counts, for Prometheus

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
        """An observer that notifies these metrics and another one, which counts its own `errors`."""
        self._contained["log"] = errors
        return _Both(self, other)

    def attempt(self, worker: str, slot: int, job: Job, ended: float, outcome: Outcome, lost: bool) -> None:
        """See WorkerObserver. Raises nothing."""
        try:
            self._count(job, ended, outcome, lost)
        except BaseException as error:  # noqa: BLE001 - whatever breaks here, the other observer is still notified
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


logger = logging.getLogger("queuesim.service")

REQUEST_TIMEOUT = 5.0
"""Seconds for a client to send its request and read the answer."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class StatusServer:
    """Answers GET /metrics, and GET /health: 200, or 503 while the worker drains or Redis does not answer."""

    def __init__(self, worker: Worker, place: RealServer, metrics: Metrics, draining: Callable[[], bool]) -> None:
        self._worker = worker
        self._place = place
        self._metrics = metrics
        self._draining = draining
        self.port = 0
        """Where it listens, once it does."""

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more."""
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._answer(request.split(b"\r\n", 1)[0].decode("latin-1"))
                head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
                writer.write(f"{head}\r\n\r\n".encode() + body)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            # the client has gone, or never completed its request
            pass
        finally:
            writer.close()

    async def _answer(self, line: str) -> tuple[str, str, bytes]:
        method, _, rest = line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in ("/health", "/metrics"):
            return "404 Not Found", TEXT, b"paths: /health and /metrics\n"
        if method != "GET":
            return "405 Method Not Allowed", TEXT, b"GET only\n"
        try:
            if path == "/metrics":
                return "200 OK", TEXT, await self._metrics.text(self._worker)
            await self._place.command("PING")
        except BrokerUnavailableError as error:
            return "503 Service Unavailable", TEXT, f"{error}\n".encode()
        except Exception as error:  # noqa: BLE001 - the client gets an answer, and the worker goes on
            log(logger, logging.ERROR, "%s can't be answered", path, error=error)
            return "500 Internal Server Error", TEXT, f"{type(error).__name__}\n".encode()
        return self._health()

    def _health(self) -> tuple[str, str, bytes]:
        draining = self._draining()
        facts = {
            "status": "draining" if draining else "ok",
            "queue": self._worker.broker.queue,
            "worker": self._worker.name,
            "running": len(self._worker.running),
            "concurrency": self._worker.concurrency,
        }
        return "503 Service Unavailable" if draining else "200 OK", "application/json", json.dumps(facts).encode()
