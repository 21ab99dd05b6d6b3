"""Refusals: wrong input ends a command with one message on stderr and exit code 2, never with a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from queuesim.cli.exitcode import ExitCode
from queuesim.escaping import shown_lines


@contextmanager
def refusing() -> Iterator[None]:
    """Around the part of a command that reads its input: an error of ours, or of the file system, is the input's."""
    try:
        yield
    except Exception as error:
        # imported only now: with asyncio in it, it takes longer than all of the help
        from queuesim.errors import QueuesimError

        if isinstance(error, QueuesimError):
            message = str(error)
        elif isinstance(error, OSError) and error.strerror:
            message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        else:
            raise
        typer.echo(shown_lines(message), err=True)
        raise typer.Exit(ExitCode.REFUSED) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Around a whole command: Ctrl-C ends it at once, where nothing else has been arranged."""
    try:
        yield
    except KeyboardInterrupt:
        import logging

        # tasks that were torn out of their work say so when they are forgotten: here that is no news
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        typer.echo("aborted", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
