"""The port of a worker process: /health for whoever restarts it, /metrics for Prometheus."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from queuesim.broker.redis.server import ServerPlace
from queuesim.containment import log
from queuesim.errors import BrokerUnavailableError
from queuesim.live.metrics import Metrics
from queuesim.worker import Worker

logger = logging.getLogger("queuesim.live")

PATIENCE = 5.0
"""Seconds that a client has to ask."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class StatusServer:
    """Answers GET /metrics, and GET /health: 200, or 503 while the worker drains or Redis does not answer."""

    def __init__(self, worker: Worker, place: ServerPlace, metrics: Metrics, draining: Callable[[], bool]) -> None:
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
            async with asyncio.timeout(PATIENCE):
                request = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._answer(request.split(b"\r\n", 1)[0].decode("latin-1"))
                head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
                writer.write(f"{head}\r\n\r\n".encode() + body)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            # whoever asked has gone, or never said what for
            pass
        finally:
            writer.close()

    async def _answer(self, line: str) -> tuple[str, str, bytes]:
        method, _, rest = line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in ("/health", "/metrics"):
            return "404 Not Found", TEXT, b"there are /health and /metrics\n"
        if method != "GET":
            return "405 Method Not Allowed", TEXT, b"GET only\n"
        try:
            if path == "/metrics":
                return "200 OK", TEXT, await self._metrics.text(self._worker)
            await self._place.command("PING")
        except BrokerUnavailableError as error:
            return "503 Service Unavailable", TEXT, f"{error}\n".encode()
        except Exception as error:  # noqa: BLE001 - whoever asks is told, and the worker goes on
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
