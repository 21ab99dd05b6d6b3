"""Text of unknown origin, made safe to show: names, messages and paths that a file, a user or a handler supplied."""

from __future__ import annotations

import re
from html import escape

WIDE_SPACE = "\u3000"
"""Between Japanese and Chinese words. Other spaces than this and the plain one look like a plain one, and are not."""
JOINERS = "\u200c\u200d"
"""Invisible, but spelling needs them: in Persian, in Indian scripts and in emoji."""


def shown(text: object) -> str:
    r"""The text on one line, with every character escaped that a terminal, a page or a reader would obey.

    These are control characters (escape sequences, line ends, tabs), overrides of the writing direction and other
    invisible formatting, line and paragraph separators, lone surrogates and unassigned or private characters. They are
    written as in Python: ``\x1b``, ``\n``, ``\u202e``. The plain space, letters and symbols of every
    script stay as they are; a no-break space does not, for nobody would see why a name is unknown.
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(char if _harmless(char) else _escape(char) for char in plain)


def well_formed(text: str) -> tuple[str, int]:
    """The text with every lone surrogate replaced by U+FFFD, and how many there were.

    A lone surrogate is half of a character pair: half an emoji, cut off. UTF-8 has no bytes for it, so that no server,
    file or terminal takes such a text.
    """
    return (text, 0) if text.isascii() else _SURROGATE.subn("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def shown_lines(text: object) -> str:
    """A text of several lines, each as `shown` has it."""
    return "\n".join(shown(line) for line in str(text).split("\n"))


def as_html(text: object) -> str:
    """The text on one line for a page: as `shown` has it, and with what HTML would obey escaped, quotes included."""
    return escape(shown(text))


def as_file_name(text: object, most: int = 100) -> str:
    """A name that may stand in a file's name on every system: letters, digits, ``-``, ``_`` and dots inside, at most so
    many characters; all else becomes ``_``."""
    kept = "".join(char if char.isalnum() or char in "-_." else "_" for char in str(text))[:most]
    return kept.strip(".") or "_"


def _harmless(char: str) -> bool:
    return char.isprintable() or char in JOINERS or char == WIDE_SPACE


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
