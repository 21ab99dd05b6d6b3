"""Files that a user names, opened so that reading them ends: ordinary files, up to a size."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from queuesim.errors import QueuesimError


class InputFileError(QueuesimError):
    """A file can't be read, and why; the message leaves out its name."""


def open_input(path: Path, most: int) -> io.BufferedReader:
    """Open an ordinary file of at most `most` bytes.

    What has no end or no size is refused before a byte is read: devices, pipes, sockets, and standard input. Whoever
    reads must still stop after `most` bytes, for the file may grow (see `read_input`).

    Raises:
        InputFileError: there is no such file, it can't be opened, it is no ordinary file, or it is too large.
    """
    try:
        # without O_NONBLOCK, opening a pipe would wait for whoever writes to it
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InputFileError("no such file") from None
    except ValueError:
        raise InputFileError("no such file: a name can't contain a null character") from None
    except OSError as error:
        raise InputFileError(error.strerror or str(error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise InputFileError(os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise InputFileError("it is not an ordinary file but a device or a pipe: write its content to a file first")
        check_size(status.st_size, most)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_input(path: Path, most: int) -> bytes:
    """The content of an ordinary file of at most `most` bytes. Raises InputFileError, as `open_input` does."""
    with open_input(path, most) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise InputFileError(error.strerror or str(error)) from None
    check_size(len(content), most)
    return content


def check_size(size: int, most: int) -> None:
    """Raise InputFileError if a file of `size` bytes is too large."""
    if size > most:
        raise InputFileError(f"it is too large: {in_bytes(size)}, and the most is {in_bytes(most)}")


def in_bytes(size: int) -> str:
    """A number of bytes, for a message."""
    return f"{size:,} bytes" if size < 1_000_000 else f"{size / 1e6:,.1f} MB"
