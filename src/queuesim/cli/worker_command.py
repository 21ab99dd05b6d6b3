"""``queuesim worker``: work a live queue, as one would in production."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import ExitCode, refusing

if TYPE_CHECKING:
    from queuesim.service.log import ContainedLogger
    from queuesim.service.service import ServiceSettings


def worker(
    processor: Annotated[str, typer.Argument(metavar="MODULE:PROCESSOR", help="The handlers.", show_default=False)],
    redis_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS, or embedded for a private server. Else "
            "REDIS_URL, or REDIS_HOST and REDIS_PORT count.",
            show_default=False,
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="What all keys begin with; {bull} on a cluster.")] = "bull",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="In place of the processor's.", show_default=False)
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes, each with that concurrency.")] = 1,
    drain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for running jobs to end after SIGTERM or SIGINT.")
    ] = 30.0,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Answer /health and /metrics here; further processes at the ports that follow. 0: any.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to answer at.")] = "127.0.0.1",
    name: Annotated[
        str | None, typer.Option(help="Written into each job; host and process if not given.", show_default=False)
    ] = None,
    log: Annotated[str | None, typer.Option(help="json or console; console on a terminal.", show_default=False)] = None,
    log_level: Annotated[str, typer.Option(help="debug tells of each job that completes.")] = "info",
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Work a live queue until SIGTERM or SIGINT.

    After a signal no job is taken any more and those that run may end; a second signal, or the end of the drain's time,
    cuts them off, and another worker takes them up. Exit code 0: all ended. 1: some were cut off. 2: the command is
    wrong, or the server can't be used.
    """  # fmt: skip
    with refusing():
        from queuesim.service.log import FORMATS, drop_unwritten, make_logger

        form = log or ("console" if sys.stderr.isatty() else "json")
        if form not in FORMATS:
            raise typer.BadParameter(f'"{form}" is neither json nor console', param_hint="'--log'")
        if log_level not in ("debug", "info", "warning", "error"):
            raise typer.BadParameter(f'"{log_level}" is no level', param_hint="'--log-level'")
        logger = make_logger(form, log_level)
        from queuesim.service.service import ServiceSettings

        found = ServiceSettings(redis_url, prefix, name, concurrency, drain, port, host, owned=supervised)
        with _server(found, logger) as settings:
            if processes == 1:
                code = _work(processor, settings, logger)
            else:
                code = _supervise(processor, settings, processes, (f"--log={form}", f"--log-level={log_level}"), logger)
        drop_unwritten()
    raise typer.Exit(code)


@contextmanager
def _server(settings: ServiceSettings, logger: ContainedLogger) -> Iterator[ServiceSettings]:
    """The settings, with a private server in place of ``embedded``."""
    from queuesim.brokers.redis.embedded import EmbeddedServer, is_embedded

    if settings.url is None or not is_embedded(settings.url):
        yield settings
        return
    with EmbeddedServer.from_url(settings.url) as server:
        logger.info("private server", url=server.url)
        yield replace(settings, url=server.url)


def _work(processor: str, settings: ServiceSettings, logger: ContainedLogger) -> int:
    from queuesim.scenario.loading import load_processor
    from queuesim.service.log import ServiceLog
    from queuesim.service.service import WorkerService, run_service

    service = WorkerService(load_processor(processor, Path.cwd()), settings, ServiceLog(logger))
    return ExitCode.OK if run_service(service) else ExitCode.FAILED


def _supervise(
    processor: str, settings: ServiceSettings, count: int, more: Sequence[str], logger: ContainedLogger
) -> int:
    import asyncio

    from queuesim.scenario.loading import load_processor
    from queuesim.service.supervisor import Supervisor

    # the processes load it themselves; what is wrong with it is told once
    load_processor(processor, Path.cwd())

    def command(number: int) -> list[str]:
        words = [sys.executable, "-m", "queuesim", "worker", processor, f"--prefix={settings.prefix}", "--supervised"]
        words += [f"--drain={settings.drain}", f"--host={settings.host}", *more]
        if settings.concurrency is not None:
            words.append(f"--concurrency={settings.concurrency}")
        if settings.port is not None:
            words.append(f"--port={settings.port + number if settings.port else 0}")
        if settings.name is not None:
            words.append(f"--name={settings.name}-{number + 1}")
        return words

    # not on the command line, which everybody can read: it may hold a password
    environment = os.environ if settings.url is None else {**os.environ, "REDIS_URL": settings.url}
    return asyncio.run(Supervisor(command, count, environment, logger).run())
