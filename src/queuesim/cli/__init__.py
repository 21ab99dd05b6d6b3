"""The command line: `main` is what ``queuesim`` and ``python -m queuesim`` start."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    from queuesim.cli.app import app

    if isinstance(sys.stdout, TextIOWrapper):
        # names come from the user's files: one that the terminal can't show is no reason to fail
        sys.stdout.reconfigure(errors="replace")
    app(prog_name="queuesim")
