"""``queuesim show``: a stored result, once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from queuesim.cli.io import interruptible, refusing


def show(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="What `queuesim run -o` wrote.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary and the checks as JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="End with 1 if a check failed, as the run did.")] = False,
) -> None:
    """Print the summary of a stored result.

    Exit code 0, whatever the checks came to: what was asked for is shown. With --check it is that of the run: 1 if a
    check failed, or the run got stuck. 2 if there is no such result.
    """
    from queuesim.cli.io import exit_code, print_json, print_summary

    with interruptible():
        with refusing():
            from queuesim.results.result import load

            result = load(directory)
        if as_json:
            print_json(result)
        else:
            print_summary(result)
        if check:
            raise typer.Exit(exit_code(result))
