"""Files that a user names, opened so that reading them ends: ordinary files, up to a size."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from queuesim.error import QueuesimError
from queuesim.text import listing, nearest, show


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


# -- Tables that a scenario names: CSV files with a header, read with the row of whatever is wrong in them

LARGEST = 256_000_000
"""Bytes of a table at most."""

LONGEST = 1_000_000
"""Characters of a line at most; a longer one is never read as a whole."""


class TableError(QueuesimError):
    """A table can't be read, or a cell of it is not what is needed; the message has the file and the line."""


def read_rows(path: Path, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The line number and the cells of each row of a CSV file, by the header's names.

    Raises:
        TableError: the file can't be read, has no header, lacks a required column, or a row is too long or too short.
    """
    for line, cells in _parse(path):
        if line == 1:
            header = cells
            check_columns(path, header, required)
            continue
        if len(cells) != len(header):
            raise TableError(f"{path}:{line}: {len(cells)} cells, but the header has {len(header)}")
        yield line, dict(zip(header, cells, strict=True))


def read_header(path: Path) -> list[str]:
    """The columns of a CSV file. Raises TableError if the file can't be read."""
    return next(cells for _, cells in _parse(path))


def check_columns(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    """Raise TableError unless each column is there once, and the required ones are."""
    for column in columns:
        if columns.count(column) > 1:
            raise TableError(f'{path}:1: two columns are called "{column}"')
    for column in required:
        if column not in columns:
            hint = nearest(column, columns) or ";"
            raise TableError(f'{path}:1: column "{column}" is missing{hint} there are: {listing(columns)}')


def read_column(path: Path, column: str | None) -> list[float]:
    """The numbers, 0 or more, of one column of a CSV file; with no column, of a text with one number a line.

    Raises:
        TableError: as `read_rows`; a cell is not a number of 0 or more; there are none, or all of them are 0.
    """
    if column is None:
        cells = ((line, row[0]) for line, row in _parse(path, header=False))
        numbers = [number(path, line, "the number", cell) for line, cell in cells]
    else:
        numbers = [number(path, line, column, row[column]) for line, row in read_rows(path, [column])]
    if not any(numbers):
        raise TableError(f"{path}: no number above 0")
    return numbers


def number(path: Path, line: int, column: str, text: str) -> float:
    """The number, 0 or more and finite, of a cell. Raises TableError."""
    try:
        value = float(text)
    except ValueError:
        raise TableError(f"{path}:{line}: {column}: {show(text)} is not a number") from None
    if not (value >= 0 and math.isfinite(value)):
        raise TableError(f"{path}:{line}: {column}: {text} must be 0 or more, and finite")
    return value


def whole(path: Path, line: int, column: str, text: str) -> int:
    """The whole number, 0 or more, of a cell. Raises TableError."""
    value = number(path, line, column, text)
    if value != int(value):
        raise TableError(f"{path}:{line}: {column}: {text} is not a whole number")
    return int(value)


def only_known(columns: Mapping[str, str], known: Sequence[str]) -> str | None:
    """What is wrong with a mapping of column names, if anything."""
    wrong = next((column for column in columns if column not in known), None)
    if wrong is None:
        return None
    return f'unknown column "{wrong}"{nearest(wrong, known) or ";"} known: {listing(known)}'


def _lines(path: Path, file: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a file, as long as it keeps within its bounds: it may grow while it is read."""
    line, size = 0, 0
    while text := file.readline(LONGEST + 1):
        line, size = line + 1, size + len(text)
        if len(text) > LONGEST:
            raise TableError(f"{path}:{line}: the line has more than {LONGEST:,} characters: is it a CSV file?")
        check_size(size, LARGEST)
        yield text


def _parse(path: Path, *, header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty; the header is line 1."""
    try:
        with io.TextIOWrapper(open_input(path, LARGEST), newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_lines(path, file), strict=True)
            empty = True
            for cells in reader:
                if not cells or cells == [""]:
                    continue
                if empty and header and reader.line_num != 1:
                    raise TableError(f"{path}:1: the header must be in the first line")
                empty = False
                yield reader.line_num, cells
            if empty:
                raise TableError(f"{path}: the file is empty")
    except InputFileError as error:
        raise TableError(f"{path}: {error}") from None
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TableError(f"{path}: it is not UTF-8 text") from None
    except csv.Error as error:
        raise TableError(f"{path}:{reader.line_num}: {error}") from None
