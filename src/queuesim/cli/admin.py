"""``queuesim admin``: serve the task service's admin API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import refusing

if TYPE_CHECKING:
    from queuesim.admin.tokens import Verifier


def admin(
    database: Annotated[str, typer.Option(help="SQLAlchemy's URL of the task database.")] = "sqlite:///tasks.db",
    redis_url: Annotated[
        str | None, typer.Option(help="The queue's Redis; REDIS_URL, or REDIS_HOST and REDIS_PORT, if left out.")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="A queue in this process's memory, for a trial.")] = False,
    queue: Annotated[str, typer.Option(help="The queue's name.")] = "task-processing",
    work: Annotated[bool, typer.Option("--work", help="Also work the queue, in this process.")] = False,
    issuer: Annotated[str, typer.Option(help="What tokens must say of who issued them.")] = "queuesim",
    audience: Annotated[str, typer.Option(help="What tokens must say of whom they are for.")] = "queuesim-admin",
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
    with refusing():
        from queuesim.extras import need

        need("uvicorn", "admin", "the admin API's servers")
        from queuesim.admin.serving import ServeOptions, serve

        verifier = _verifier(issuer, audience, jwks)
        place = ServeOptions(database, None if memory else redis_url, memory, queue, work, host, port)
        serve(
            place, verifier, lambda url: typer.echo(f"the admin API answers on {url}, its documentation on {url}/docs")
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
