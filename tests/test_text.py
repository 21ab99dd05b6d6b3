"""Numbers as people read them, and texts that are read as they are."""

from __future__ import annotations

import html
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from queuesim.text import as_markdown, brief, counted, percent, rate, readable


@pytest.mark.parametrize(
    ("seconds", "text", "short"),
    [
        (math.nan, "–", "–"),
        (0.0, "0 s", "0s"),
        (0.0000166, "0.0166 ms", "16.6us"),
        (0.00123, "1.23 ms", "1.23ms"),
        (0.142, "142 ms", "142ms"),
        (0.9996, "1 s", "1s"),
        (59.96, "60 s", "60s"),
        (60.0, "1 min", "60s"),
        (93.5, "93.5 s", "93.5s"),
        (100.0, "1 min 40 s", "1.67m"),
        (3599.7, "1 h", "60m"),
        (5400.0, "1 h 30 min", "90m"),
        (6000.0, "1 h 40 min", "1.67h"),
        (14400.0, "4 h", "4h"),
        (200_000.0, "2 d 8 h", "2.31d"),
        (-38.0, "-38 s", "-38s"),
        (-3600.0, "-1 h", "-60m"),
    ],
)
def test_durations(seconds: float, text: str, short: str) -> None:
    assert (readable(seconds), brief(seconds)) == (text, short)


@given(st.floats(0, 1e9))
def test_no_duration_is_written_with_an_exponent(seconds: float) -> None:
    if seconds >= 1e-6:
        assert "e" not in readable(seconds)
        assert "e" not in brief(seconds)
        assert len(brief(seconds)) <= 7


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(1.484, "1.48/s"), (1234.5, "1,234/s"), (0.5, "30/min"), (0.001, "3.6/h"), (0.0, "0/s"), (math.nan, "–")],
)
def test_rates(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.5, "50 %"), (0.99999, "99.999 %"), (0.9999999, "99.999 %"), (1.0, "100 %"), (math.nan, "–")],
)
def test_shares_are_not_rounded_up_to_all(share: float, text: str) -> None:
    assert percent(share) == text


def test_counts() -> None:
    assert [counted(number, "job") for number in (0, 1, 2000)] == ["0 jobs", "1 job", "2,000 jobs"]


def read_as(markdown: str) -> str:
    """What a reader of Markdown sees of a line, by a parser that is not ours. Spans show what is in them."""
    shown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    return html.unescape(re.sub(r"</?(p|span)>", "", shown)).rstrip("\n")


@pytest.mark.parametrize(
    "text",
    [
        "$a$ and $$b$$", "a|b", "`code`", "**bold** _under_", "<script>alert(1)</script>", "&amp; &lt;", "# title",
        "- item", "+ item", "1. item", "12) item", "===", "![x](y)", "[a]: b", "~~gone~~", "> quote", r"back\slash",
        "-", "---",
    ],
)  # fmt: skip
def test_any_text_is_read_in_markdown_as_it_is(text: str) -> None:
    assert read_as(as_markdown(text)) == text
    assert read_as(f"before {as_markdown(text)} after") == f"before {text} after"


@given(st.text(alphabet=st.sampled_from("ab1 $@|`*_<>[]()#~&!\\-+=.:\"'"), max_size=12))
def test_any_mix_of_signs_is_read_in_markdown_as_it_is(text: str) -> None:
    words = " ".join(text.split())
    assert read_as(f"before {as_markdown(words)}") == f"before {words}".rstrip()


def test_github_sees_neither_a_formula_nor_a_call_in_a_text() -> None:
    assert as_markdown("costs $5 or $6") == "costs <span>$</span>5 or <span>$</span>6"
    assert as_markdown("hello @alice, write to a@b.example") == "hello <span>@</span>alice, write to a@b.example"


def test_a_text_stays_on_its_line_and_in_its_cell() -> None:
    assert as_markdown("a\nb\r| c") == r"a\\nb\\r\| c"
    table = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| x |\n|---|\n| {as_markdown('a|b')} |\n")
    assert "<td>a|b</td>" in table
