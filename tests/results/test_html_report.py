"""The report as a page: what it says, that it is self-contained, and what a real browser makes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from metrics_script import NAN, Script
from plotimages import day

from queuesim.results.recording import CheckRow
from queuesim.results.result import Result


def evil() -> Script:
    script = Script(100.0)
    for number in range(3):
        script.attempt(script.job(1.0, name="<img src=http://x/y onerror=alert(1)>"), number + 1.0, number + 2.0)
    script.checks.append(CheckRow("<script>alert(1)</script>", False, NAN, "x"))
    return script


def all_failed() -> Script:
    script = Script()
    for number in range(5):
        error = ("ValidationError", "Validation", False)
        script.attempt(script.job(number), number, number + 0.5, "failed", error=error)
    return script


def test_a_browser_opens_it_without_an_error_or_a_request(browser: Any, tmp_path: Path) -> None:
    day().to_html(tmp_path / "run.html")
    shades = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1100, "height": 800})
        told: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, told=told: told.append(message.text))
        page.on("pageerror", lambda error, told=told: told.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        address = (tmp_path / "run.html").as_uri()
        page.goto(address)
        assert page.title() == "hand-made · queuesim"
        assert page.locator("section svg").count() == 9
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shades[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != shades[scheme]
        assert told == []
        assert asked == [address]
        page.close()
    assert shades["light"] != shades["dark"]


def test_it_fits_a_telephone(browser: Any, tmp_path: Path) -> None:
    day().to_html(tmp_path / "run.html")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((tmp_path / "run.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    Result(evil().recording()).to_html(tmp_path / "evil.html")
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto((tmp_path / "evil.html").as_uri())
    assert asked == [(tmp_path / "evil.html").as_uri()]
    assert "<script>alert(1)</script>" in page.locator("#checks").inner_text()
    page.close()


def test_it_is_self_contained_and_the_same_each_time() -> None:
    text = day().to_html()
    assert re.findall(r'(?:src|href)="?(?!#|data:)[^"> ]+', text) == []
    assert "@import" not in text
    assert text == day().to_html()


@pytest.mark.parametrize(
    "script", [Script, lambda: Script(0.0), all_failed, evil], ids=["empty", "no time", "failed", "evil"]
)
def test_any_run_has_a_report(script: Any) -> None:
    text = Result(script().recording()).to_html()
    assert text.startswith("<!doctype html>")
    assert text.count("<section") == text.count("</section>")
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL).lower().replace("finance", "")


def test_faults_are_told() -> None:
    text = day().to_html()
    assert 'id="faults"' in text
    assert "redis.outage" in text


EXAMPLE = Path(__file__).parents[2] / "reports" / "task-processing.html"


def test_the_example_in_the_repository_is_small_and_of_this_version() -> None:
    import queuesim
    from queuesim.results.views import digest

    text = EXAMPLE.read_text()
    assert len(text) < 2_000_000
    result = queuesim.run(EXAMPLE.parents[1] / "scenarios" / "task-processing.yaml")
    command = "queuesim report scenarios/task-processing.yaml -o reports/task-processing.html"
    assert f"<td>{command}</td>" in text
    assert digest.headline(result) in text, f"make it again: {command}"


def test_the_example_in_the_repository_opens_in_a_browser(browser: Any) -> None:
    page = browser.new_page()
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(EXAMPLE.as_uri())
    assert page.locator("section svg").count() == 9
    assert (told, asked) == ([], [EXAMPLE.as_uri()])
    page.close()
