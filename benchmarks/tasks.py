"""The task service's figures: the scan of a million tasks, crashes in the middle of scans, the window between commit
and queue, and the admin API's speed.

    python -m benchmarks.tasks -o reports/tasks.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from queuesim.brokers.memory import MemoryBroker
from queuesim.core.clock import set_clock
from queuesim.core.job import NewJob
from queuesim.core.queue import Queue
from queuesim.core.worker import Worker
from queuesim.simulation.process import Process
from queuesim.simulation.runner import run as run_in_virtual_time
from queuesim.tasks.cost import DatabaseModel, DistantQueue
from queuesim.tasks.outbox import AfterCommit, Outbox, Relay, drained
from queuesim.tasks.overdue import OverdueScan, count_delivered
from queuesim.tasks.queries import overdue_page
from queuesim.tasks.store import TaskStore, fill
from queuesim.tasks.tables import notifications, tasks
from queuesim.tasks.task_service import TaskService, task_processor

CRASHES = 100


# -- the scan of a million tasks


class Nowhere:
    """A delivery that drops the jobs: what is measured is the scan."""

    atomic = False

    def stage(self, connection: object, jobs: list[NewJob], now: float) -> None:
        """Nothing."""

    async def deliver(self, jobs: list[NewJob]) -> list[str]:
        return [job.options.job_id or "" for job in jobs]


def scan(count: int, per: str) -> dict[str, float]:
    """Scan so many overdue tasks in a SQLite file; pages per second and what the process's memory grew by."""
    with tempfile.TemporaryDirectory() as place, TaskStore(f"sqlite:///{place}/tasks.db").opened() as store:
        store.run_now(lambda connection: fill(connection, (float(n) for n in range(count))))

        async def scene() -> Any:
            set_clock(lambda: 1e9)
            scanner = OverdueScan(store, Queue(MemoryBroker("q")), Nowhere(), per=per)  # type: ignore[arg-type]
            return await scanner.run()

        before, began = _peak(), time.perf_counter()
        (report,) = asyncio.run(scene())
        took = time.perf_counter() - began
        assert report.found == count
        return {"pages_per_second": report.pages / took, "peak_mb": _peak() / 1e6, "grown_mb": (_peak() - before) / 1e6}


def rows_read(count: int, pages: int = 50) -> float:
    """Rows that SQLite visits per row that it returns, over the first pages: counted by a function in the WHERE."""
    with TaskStore().opened() as store:
        store.run_now(lambda connection: fill(connection, (float(n) for n in range(count))))
        visited = 0

        def seen(value: object) -> int:
            nonlocal visited
            visited += 1
            return 1

        def work(connection: Any) -> int:
            connection.connection.dbapi_connection.create_function("seen", 1, seen)
            returned, after = 0, None
            for _ in range(pages):
                page = overdue_page(1e9, after, 100).where(func.seen(tasks.c.id) == 1)
                found = connection.execute(page).all()
                returned += len(found)
                after = (found[-1].notify_at, found[-1].id)
            return returned

        returned = store.run_now(work)
        return visited / returned


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


# -- crashes


@contextmanager
def service(delivery: str) -> Any:
    """A task service in virtual time: 20 ms a transaction, 10 ms to the queue and back."""
    with TaskStore(cost=DatabaseModel(lambda: 0.02)).opened() as store:
        processor = task_processor(store, limiter=None, concurrency=20)
        processor.stack_traces = False
        queue = Queue(MemoryBroker(processor.queue), defaults=processor.defaults)
        distant = DistantQueue(queue, lambda: 0.01)
        relay = Relay(store, distant, settle=count_delivered)
        way = Outbox(relay.wake) if delivery == "outbox" else AfterCommit(distant)
        yield store, processor, queue, relay, way


def crashed_scans(delivery: str, seed: int) -> dict[str, int]:
    """Crash a scan at 100 random points, one after the other, and count who was told how often."""
    rng, count = random.Random(seed), 10_000

    with service(delivery) as (store, processor, queue, relay, way):
        store.run_now(lambda connection: fill(connection, [0.0] * count))

        async def scene() -> int:
            loop, crashes = asyncio.get_running_loop(), 0
            working = loop.create_task(Worker(processor, queue.broker).run())
            while True:
                process = Process(f"scanner-{crashes}")
                scanner = OverdueScan(store, queue, way, lease=1.0, owner=process.name)
                task = loop.create_task(scanner.run("cron"), context=process.context)
                done, _ = await asyncio.wait([task], timeout=rng.uniform(0.0, 0.05) if crashes < CRASHES else None)
                if done:
                    break
                process.kill()
                crashes += 1
                await asyncio.sleep(1.5)
            await drained(queue, relay)
            working.cancel()
            await asyncio.wait([working])
            return crashes

        crashes = run_in_virtual_time(scene())
        told = store.run_now(
            lambda c: c.execute(select(notifications.c.task_id, func.count()).group_by(notifications.c.task_id)).all()
        )
    return {"crashes": crashes, "tasks": count, "told": len(told), "twice": sum(times > 1 for _, times in told)}


def crash_window(delivery: str, seed: int, crashes: int = 500) -> dict[str, int]:
    """Kill, at random moments, processes that create tasks one after the other; count tasks whose job never was."""
    rng = random.Random(seed)
    with service(delivery) as (store, processor, queue, relay, way):

        async def create() -> None:
            tasks_of = TaskService(store, queue, way)
            while True:
                await tasks_of.create("t", "ann")

        async def scene() -> None:
            loop = asyncio.get_running_loop()
            killed = []
            for n in range(crashes):
                process = Process(f"api-{n}")
                killed.append(loop.create_task(create(), context=process.context))
                await asyncio.sleep(rng.uniform(0.2, 0.5))
                process.kill()
            working = loop.create_task(Worker(processor, queue.broker).run())
            await drained(queue, relay)
            working.cancel()
            await asyncio.wait([working])

        run_in_virtual_time(scene())
        made = store.run_now(lambda c: c.execute(select(func.count()).select_from(tasks)).scalar_one())
        told = store.run_now(lambda c: c.execute(select(func.count(notifications.c.task_id.distinct()))).scalar_one())
    return {"crashes": crashes, "tasks": made, "lost": made - told}


# -- the admin API


def admin_speed(seconds: float = 5.0, connections: int = 32) -> dict[str, float]:
    """Requests per second of queue-metrics over HTTP on the loopback interface, client and server in two processes."""
    import jwt

    secret = "a secret for this measurement, with 32 bytes or more"
    code = "import benchmarks.tasks as t; t.serve()"
    server = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "SECRET": secret}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        claims = {"sub": "ann", "iss": "i", "aud": "a", "exp": time.time() + 600, "roles": ["admin"]}
        token = jwt.encode(claims, secret, "HS256")
        request = (
            f"GET /tasks/admin/queue-metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )

        async def load() -> int:
            end, total = time.perf_counter() + seconds, 0

            async def one() -> None:
                nonlocal total
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while time.perf_counter() < end:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200"), head
                    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
                    total += 1
                writer.close()

            await asyncio.gather(*(one() for _ in range(connections)))
            return total

        return {"requests_per_second": asyncio.run(load()) / seconds}
    finally:
        server.terminate()
        server.wait()


def serve() -> None:
    """The server of the measurement."""
    import socket

    import uvicorn

    from queuesim.admin.api import assemble, create_app
    from queuesim.admin.tokens import Verifier

    with TaskStore().opened() as store:
        verifier = Verifier("HS256", "i", "a", secret=os.environ["SECRET"])
        app = create_app(assemble(store, MemoryBroker("q"), verifier, work=False, limited=False))
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        server.run(sockets=[listener])


# -- the report


def _in_process(part: str) -> Any:
    """Run a part in a process of its own, so that its memory is its own."""
    print(f"{part} ...", file=sys.stderr, flush=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.tasks", "--only", part]
    measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"{part}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return measured


PARTS: dict[str, Callable[[], Any]] = {
    "scan 1000": lambda: scan(1_000, "task"),
    "scan 1000000": lambda: scan(1_000_000, "task"),
    "rows": lambda: {"rows": rows_read(100_000)},
    "crashes after-commit": lambda: crashed_scans("after-commit", 1),
    "crashes outbox": lambda: crashed_scans("outbox", 1),
    "window after-commit": lambda: crash_window("after-commit", 1),
    "window outbox": lambda: crash_window("outbox", 1),
    "admin": admin_speed,
}


def report() -> str:
    """The report, as Markdown."""
    measured = {part: _in_process(part) for part in PARTS}
    lines = [
        "# The task service", "",
        f"Made by `python -m benchmarks.tasks -o reports/tasks.md` on {os.cpu_count()} cores.", "",
        "| overdue scan, SQLite file, pages of 100 | pages/s | peak memory | growth by the scan |",
        "|---|---:|---:|---:|",
    ]  # fmt: skip
    for part, label in (
        ("scan 1000", "1 000 tasks, one job per task"),
        ("scan 1000000", "1 000 000 tasks, one job per task"),
    ):
        row = measured[part]
        lines.append(
            f"| {label} | {row['pages_per_second']:,.0f} | {row['peak_mb']:.0f} MB | {row['grown_mb']:.1f} MB |"
        )
    lines += ["", f"Rows read per row returned: {measured['rows']['rows']:.2f}.", ""]
    lines += [
        "| crashes in the middle of scans | crashes | tasks | notified | notified twice |",
        "|---|---:|---:|---:|---:|",
    ]
    for way in ("after-commit", "outbox"):
        row = measured[f"crashes {way}"]
        lines.append(f"| {way} | {row['crashes']} | {row['tasks']:,} | {row['told']:,} | {row['twice']} |")
    lines += [
        "",
        "| killed at random: 20 ms per transaction, 10 ms to the queue | crashes | tasks created | jobs lost |",
        "|---|---:|---:|---:|",
    ]
    for way in ("after-commit", "outbox"):
        row = measured[f"window {way}"]
        lines.append(f"| {way} | {row['crashes']} | {row['tasks']:,} | {row['lost']} |")
    speed = measured["admin"]["requests_per_second"]
    lines += ["", f"Admin API: {speed:,.0f} requests/s of queue-metrics at 32 connections.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(PARTS[arguments.only]()))
        return
    text = report()
    if arguments.output:
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
