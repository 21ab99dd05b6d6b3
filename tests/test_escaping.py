from __future__ import annotations

import pytest

from queuesim.text import shown


@pytest.mark.parametrize(
    "plain", ["mail", "a b", "größe", "日本語\u3000日本", "👩\u200d💻", "price $\\frac{a$", "50 %"]
)
def test_what_can_be_read_stays_as_it_is(plain: str) -> None:
    assert shown(plain) == plain


@pytest.mark.parametrize(
    ("hostile", "escaped"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("a\u2028b", r"a\u2028b"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("half \ud800", r"half \ud800"),
        ("a\u00a0b", r"a\xa0b"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_what_a_terminal_or_a_reader_would_obey_is_escaped(hostile: str, escaped: str) -> None:
    assert shown(hostile) == escaped
    assert shown(shown(hostile)) == escaped
