"""Commands for live queues and the task service: worker, letters, admin and evaluate."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import AsJson, ExitCode, LiveServer, PlayedOn, Prefix, parsing
from queuesim.text import shown

if TYPE_CHECKING:
    from queuesim.admin.tokens import Verifier
    from queuesim.core.deadletters import Letter, Redrive
    from queuesim.evaluation.claims import Verdict
    from queuesim.evaluation.testbed import ServiceTestBed
    from queuesim.service.log import ContainedLogger
    from queuesim.service.service import ServiceSettings


def worker(
    processor: Annotated[str, typer.Argument(metavar="MODULE:PROCESSOR", help="The handlers.", show_default=False)],
    redis_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS, or embedded for a private server. Default: "
            "REDIS_URL, or REDIS_HOST and REDIS_PORT.",
            show_default=False,
        ),
    ] = None,
    prefix: Prefix = "bull",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Replaces the processor's.", show_default=False)
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
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error; debug logs completed jobs.")] = "info",
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Work a live queue until SIGTERM or SIGINT.

    After a signal it takes no more jobs, and running ones may end. A second signal, or the end of the drain's time,
    cuts them off, and another worker takes them up. Exit code 0: all ended. 1: some were cut off. 2: the command is
    wrong, or the server can't be used.
    """
    from queuesim.service.log import FORMATS, drop_unwritten, make_logger
    from queuesim.service.service import ServiceSettings

    form = log or ("console" if sys.stderr.isatty() else "json")
    if form not in FORMATS:
        raise typer.BadParameter(f'"{form}" is neither json nor console', param_hint="'--log'")
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f'"{log_level}" is not a level', param_hint="'--log-level'")
    logger = make_logger(form, log_level)
    given = ServiceSettings(redis_url, prefix, name, concurrency, drain, port, host, owned=supervised)
    with _server(given, logger) as settings:
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
    from queuesim.scenario.processors import load_processor
    from queuesim.service.log import ServiceLog
    from queuesim.service.service import WorkerService, run_service

    service = WorkerService(load_processor(processor, Path.cwd()), settings, ServiceLog(logger))
    return ExitCode.OK if run_service(service) else ExitCode.FAILED


def _supervise(
    processor: str, settings: ServiceSettings, count: int, more: Sequence[str], logger: ContainedLogger
) -> int:
    import asyncio

    from queuesim.scenario.processors import load_processor
    from queuesim.service.service import Supervisor

    # the processes load it themselves; what is wrong with it is reported once
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


# -- queuesim letters


def letters(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The dead-letter queue.", show_default=False)],
    redis_url: LiveServer = None,
    prefix: Prefix = "bull",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of dead letters, and of redrives, to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first, and redrives, the newest first, each with the status of its job.

    The status of a redrive is waiting, active, completed, failed, dead again, removed or unknown.
    """
    # with asyncio, the help would take longer
    import asyncio

    with parsing("QUEUE"):
        found, count, redriven = asyncio.run(_read(queue, redis_url, prefix, limit))
    if as_json:
        plain = {"count": count, "letters": list(map(_plain, found)), "redrives": list(map(asdict, redriven))}
        typer.echo(json.dumps(plain, indent=2))
    else:
        _print(queue, found, count, redriven)


async def _read(
    queue: str, redis_url: str | None, prefix: str, limit: int
) -> tuple[Sequence[Letter], int, Sequence[Redrive]]:
    from queuesim.brokers.redis.broker import RedisBroker
    from queuesim.brokers.redis.server import connect
    from queuesim.core.deadletters import DeadLetters

    place = await connect(redis_url)
    try:
        dead = DeadLetters(RedisBroker(queue, place, prefix), queue)
        return await dead.list(0, limit - 1), await dead.count(), await dead.redrives(0, limit - 1)
    finally:
        await place.close()


def _plain(letter: Letter) -> dict[str, object]:
    from queuesim.core.job import to_plain

    names = ("id", "queue", "job_id", "name", "data", "reason", "added", "buried", "origin", "redrives", "unreadable")
    plain = {name: getattr(letter, name) for name in names}
    return plain | {"options": to_plain(letter.options), "history": list(letter.history)}


def _print(queue: str, found: Sequence[Letter], count: int, redriven: Sequence[Redrive]) -> None:
    typer.echo(shown(f"{queue}: {count} dead letters"))
    for letter in found:
        text = letter.unreadable or f"{letter.name}, job {letter.job_id} of {letter.queue}: {letter.reason}"
        again = f" (redriven {letter.redrives} times, first job {letter.origin})" if letter.redrives else ""
        typer.echo(shown(f"  {letter.id}  {text}{again}"))
    if redriven:
        typer.echo("redrives, the newest first")
    for redrive in redriven:
        reason = f": {redrive.reason}" if redrive.reason else ""
        job = f"{redrive.name}, job {redrive.job_id} of {redrive.queue}"
        typer.echo(shown(f"  {redrive.letter}  {job}: {redrive.status}{reason}"))


# -- queuesim admin


def admin(
    database: Annotated[str, typer.Option(help="SQLAlchemy's URL of the task database.")] = "sqlite:///tasks.db",
    redis_url: Annotated[
        str | None, typer.Option(help="The queue's Redis. Default: REDIS_URL, or REDIS_HOST and REDIS_PORT.")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="A queue in this process's memory, for a trial.")] = False,
    queue: Annotated[str, typer.Option(help="The queue's name.")] = "task-processing",
    work: Annotated[bool, typer.Option("--work", help="Also work the queue, in this process.")] = False,
    issuer: Annotated[str, typer.Option(help="The issuer (iss) that tokens must name.")] = "queuesim",
    audience: Annotated[str, typer.Option(help="The audience (aud) that tokens must name.")] = "queuesim-admin",
    jwks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="The issuer's key set, for RS256. From a URL it is fetched again every five minutes, and when a token "
            "names a new key.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0: a free one.")] = 8080,
) -> None:
    """Serve the admin API: metrics, pause, dead letters, the overdue check. SIGTERM or Ctrl-C ends it.

    For instance: queuesim admin --database sqlite:///tasks.db --redis-url redis://127.0.0.1:6379 --work

    Tokens are checked with the key set of --jwks (RS256), or else with the secret in QUEUESIM_ADMIN_SECRET (HS256).
    """
    from queuesim.extras import need

    need("uvicorn", "admin", "the admin API's servers")
    from queuesim.admin.api import ServeOptions, serve

    options = ServeOptions(database, None if memory else redis_url, memory, queue, work, host, port)
    serve(
        options,
        _verifier(issuer, audience, jwks),
        lambda url: typer.echo(f"the admin API answers on {url}, its documentation on {url}/docs"),
    )


def _verifier(issuer: str, audience: str, jwks: str | None) -> Verifier:
    from queuesim.admin.tokens import RemoteKeys, Verifier, read_jwks

    if jwks is None:
        return Verifier("HS256", issuer, audience, secret=os.environ.get("QUEUESIM_ADMIN_SECRET", ""))
    if "://" not in jwks:
        return Verifier("RS256", issuer, audience, jwks=read_jwks(Path(jwks).read_text(encoding="utf-8")))
    remote = RemoteKeys(jwks)
    remote.fetch()
    return Verifier("RS256", issuer, audience, remote=remote)


# -- queuesim evaluate


def evaluate(
    backends: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            help="sim (default), fakeredis (both in virtual time), or redis (real time). Repeatable.",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://USER@HOST/NAME; SQLite if left out.", show_default=False),
    ] = None,
    redis_url: PlayedOn = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE", help="Switch a feature off, and lose its points. Repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the report here, as Markdown.")] = None,
) -> None:
    """Try every claim of the task service, for a score out of 20. Exit code 1 unless all score.

    For instance: queuesim evaluate --backend sim --backend redis -o evaluation.md
    """
    from queuesim.evaluation.claims import report
    from queuesim.evaluation.testbed import ServiceTestBed

    beds = [ServiceTestBed(each, database, redis_url, frozenset(without or ())) for each in backends or ["sim"]]
    sections = []
    for bed in beds:
        with bed.opened():
            sections.append((bed, list(_reported(bed))))
    if output is not None:
        options = [f"--backend {bed.backend}" for bed in beds] + [f'--without "{f}"' for f in without or ()]
        command = " ".join(["queuesim evaluate", *options, f"-o {output}"])
        output.write_text(report(sections, command), encoding="utf-8")
    verdicts = [verdict for _, found in sections for verdict in found]
    raise typer.Exit(0 if all(verdict.scored == verdict.points for verdict in verdicts) else 1)


def _reported(bed: ServiceTestBed) -> Iterator[Verdict]:
    """Each verdict, printed as soon as it is there, and the sum at the end."""
    from queuesim.evaluation.claims import evaluate as verdicts_of

    total = possible = 0
    for verdict in verdicts_of(bed):
        total, possible = total + verdict.scored, possible + verdict.points
        mark = "✓" if verdict.scored else "✗"
        typer.echo(f"{mark} {verdict.scored}/{verdict.points} {verdict.area}: {verdict.name}: {verdict.evidence}")
        yield verdict
    typer.echo(f"{total} of {possible} points on {bed.backend}")
