"""The Redis protocol, as far as it takes to see where a command or an answer ends."""

from __future__ import annotations

END = b"\r\n"
STRINGS, ELEMENTS, PAIRS = b"$=!", b"*~>", b"%|"
"""Types whose first line tells how many bytes, values or pairs of values follow. All others are one line."""
ALL = STRINGS + ELEMENTS + PAIRS + b"+-:_,#("


class ProtocolError(ValueError):
    """These bytes are no Redis protocol."""


class Frames:
    """Cuts a stream of bytes into whole commands or answers."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return what is whole now, as it came.

        Raises:
            ProtocolError: it is no Redis protocol.
        """
        self._bytes += data
        whole = []
        while self._bytes and (end := _end(self._bytes)) is not None:
            whole.append(bytes(self._bytes[:end]))
            del self._bytes[:end]
        return whole


def _end(data: bytearray) -> int | None:
    """Where the value ends with which the data begin; None: it is not all there."""
    position, missing = 0, 1
    while missing:
        line = data.find(END, position)
        if line < 0:
            return None
        kind, head = data[position], bytes(data[position + 1 : line])
        position = line + len(END)
        missing -= 1
        if kind not in ALL:
            raise ProtocolError(f"{bytes(data[:40])!r} is no Redis protocol")
        if kind in STRINGS + ELEMENTS + PAIRS:
            count = _count(head)
            if kind in STRINGS:
                position += count + len(END) if count >= 0 else 0
            else:
                # what an attribute (|) belongs to follows it
                missing += max(count, 0) * (2 if kind in PAIRS else 1) + (kind in b"|")
    return position if position <= len(data) else None


def _count(head: bytes) -> int:
    try:
        return int(head)
    except ValueError:
        raise ProtocolError(f"{head[:40]!r} is no number") from None


def words(command: bytes) -> list[bytes]:
    """The words of a whole command: an array of strings."""
    found, position = [], command.index(END) + len(END)
    while position < len(command):
        line = command.index(END, position)
        begin = line + len(END)
        end = begin + int(command[position + 1 : line])
        found.append(command[begin:end])
        position = end + len(END)
    return found
