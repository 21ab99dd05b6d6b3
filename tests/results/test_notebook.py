"""The notebook's view."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from metrics_script import Script

from queuesim.results.recording import CheckRow
from queuesim.results.result import Result
from queuesim.results.views.html import HEIGHT


class Balance(HTMLParser):
    """Reads HTML, and minds that every element is closed in its turn."""

    VOID = ("br", "polygon", "polyline")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def run(name: str = "mail") -> Result:
    script = Script(100.0)
    for number in range(20):
        script.attempt(script.job(number * 2.0, name=name), number * 4.0, number * 4.0 + 3)
    script.checks += [CheckRow("lost == 0", True, 0.0, "== 0"), CheckRow("completed < 3", False, 20.0, "< 3")]
    return Result(script.recording())


def test_what_it_says() -> None:
    page = Balance(run()._repr_html_())
    for part in (
        "20 jobs in 1 min 40 s",
        "hand-made on sim",
        "utilisation",
        "✓ lost == 0",
        "✗ completed < 3",
        "latency p50",
    ):
        assert part in page.text, part
    assert page.seen.count("svg") == 2


def test_checks_have_the_colours_of_their_status() -> None:
    text = run()._repr_html_()
    assert re.search(r"color: #007a5a\W+✓ lost == 0", text)
    assert re.search(r"color: #b34700\W+✗ completed &lt; 3", text)


def test_the_curve_stays_in_its_picture() -> None:
    for points in re.findall(r'polyline points="([^"]*)"', run()._repr_html_()):
        heights = [float(point.split(",")[1]) for point in points.split()]
        assert 0 <= min(heights) < max(heights) <= HEIGHT


def test_names_are_no_html() -> None:
    page = Balance(run("<script>alert(1)</script>")._repr_html_())
    assert "script" not in page.seen
    assert "<script>" in page.text


@pytest.mark.parametrize("script", [Script(), Script(0.0)], ids=["empty", "no time"])
def test_nothing_happened(script: Script) -> None:
    page = Balance(Result(script.recording())._repr_html_())
    assert "0 jobs in" in page.text
    assert "svg" not in page.seen
