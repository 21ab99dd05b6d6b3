"""The option ``--redis-url`` of commands that play on a server of their own where none is named."""

from __future__ import annotations

from typing import Annotated

import typer

RedisUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="For redis: redis://HOST:PORT, or embedded for a private server. Else REDIS_URL, REDIS_HOST and "
        "REDIS_PORT count, or a private server is started.",
        show_default=False,
    ),
]
