"""Where results go: a directory that can be written is found out before a run, not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from queuesim.errors import QueuesimError
from queuesim.extras import need


class OutputError(QueuesimError):
    """A directory that can't take a result; the message says why, and what helps."""


def prepare_output(directory: Path, *, force: bool = False) -> None:
    """Make the directory, and see that it takes files.

    Args:
        force: overwrite what is there.

    Raises:
        OutputError: it can't be written, or holds something already.
        MissingExtraError: pyarrow is not installed.
    """
    need("pyarrow", "parquet", "Parquet files")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        taken = any(directory.iterdir())
    except FileExistsError:
        raise OutputError(f"{directory} can't be the output: it is a file, not a directory") from None
    except OSError as error:
        raise OutputError(f"{directory} can't be written: {error.strerror or error}") from None
    if taken and not force:
        if (directory / "facts.json").is_file():
            raise OutputError(f"{directory} holds a result already: choose another directory, or --force to overwrite")
        raise OutputError(f"{directory} holds other files: choose another directory, or --force to write among them")
