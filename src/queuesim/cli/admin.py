"""``queuesim admin``: serve the task service's admin API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from queuesim.cli.refusal import refusing


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
        Path | None, typer.Option(help="A file with the issuer's key set, for RS256.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
) -> None:
    """Serve the admin API: metrics, pause, dead letters, the overdue check.

    Tokens are checked with the key set of --jwks (RS256), or else with the secret in QUEUESIM_ADMIN_SECRET (HS256).
    """
    with refusing():
        from queuesim.extras import need

        need("uvicorn", "admin", "the admin API's servers")
        from queuesim.admin.serving import Place, serve
        from queuesim.admin.tokens import Verifier, read_jwks

        if jwks is not None:
            verifier = Verifier("RS256", issuer, audience, jwks=read_jwks(jwks.read_text(encoding="utf-8")))
        else:
            verifier = Verifier("HS256", issuer, audience, secret=os.environ.get("QUEUESIM_ADMIN_SECRET", ""))
        serve(Place(database, None if memory else redis_url, memory, queue, work, host, port), verifier)
