"""``queuesim letters``: the dead letters of a live queue, and the status of those that were redriven."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from queuesim.cli.io import interruptible, refusing

if TYPE_CHECKING:
    from queuesim.core.deadletters import Letter, Redrive


def letters(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The dead-letter queue.", show_default=False)],
    redis_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for TLS. Else REDIS_URL, or REDIS_HOST and "
            "REDIS_PORT count.",
            show_default=False,
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="What all keys begin with; {bull} on a cluster.")] = "bull",
    limit: Annotated[int, typer.Option(min=1, help="Letters and redrives to list at most, of each.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List dead letters, the oldest first, and redrives, the newest first, each with the status of its job.

    The status of a redrive is waiting, active, completed, failed, dead again, removed or unknown.
    """
    # with asyncio, the help would take longer
    import asyncio

    with interruptible(), refusing():
        try:
            found, count, redriven = asyncio.run(_read(queue, redis_url, prefix, limit))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'QUEUE'") from None
        if as_json:
            told = {"count": count, "letters": list(map(_plain, found)), "redrives": list(map(asdict, redriven))}
            typer.echo(json.dumps(told, indent=2))
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
    told = {name: getattr(letter, name) for name in names}
    return told | {"options": to_plain(letter.options), "history": list(letter.history)}


def _print(queue: str, found: Sequence[Letter], count: int, redriven: Sequence[Redrive]) -> None:
    from queuesim.text import shown

    typer.echo(shown(f"{queue}: {count} dead letters"))
    for letter in found:
        told = letter.unreadable or f"{letter.name}, job {letter.job_id} of {letter.queue}: {letter.reason}"
        again = f" (redriven {letter.redrives} times, first job {letter.origin})" if letter.redrives else ""
        typer.echo(shown(f"  {letter.id}  {told}{again}"))
    if redriven:
        typer.echo("redrives, the newest first")
    for redrive in redriven:
        reason = f": {redrive.reason}" if redrive.reason else ""
        typer.echo(
            shown(
                f"  {redrive.letter}  {redrive.name}, job {redrive.job_id} of {redrive.queue}: {redrive.status}{reason}"
            )
        )
