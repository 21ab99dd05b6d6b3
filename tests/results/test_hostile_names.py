"""Names that a terminal, a page, Markdown, XML or matplotlib would obey are shown escaped, in every face."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from typer.testing import CliRunner

import queuesim
from queuesim.cli.app import app
from queuesim.core.processor import Processor
from queuesim.experiments.sweep import sweep
from queuesim.recordings.compare import compare
from queuesim.results.plots.comparison import heat_map, overlay
from queuesim.results.result import Result
from queuesim.results.views import digest
from queuesim.results.views.html import page
from queuesim.results.views.progress import run_bar
from queuesim.results.views.reports import junit, markdown
from queuesim.results.views.terminal import render
from queuesim.scenario.model import Scenario
from queuesim.testing.soak import save

EVIL = "\x1b[2J\x07\r\n\u202e\u2028$\\frac{a$ <script>alert(1)</script>|`x`*[y](z)[red]&amp;\ufffe"
"""What each reader of a text would obey: a terminal, a page, Markdown, rich, mathtext; and what XML can't hold."""

OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff\ufffe]")
"""Characters that no face may contain."""


def scenario() -> dict[str, Any]:
    return {
        "name": f"run {EVIL}",
        "description": EVIL,
        "seed": 3,
        "duration": 60.0,
        "queue": {"name": f"queue {EVIL}".replace(":", ""), "attempts": 2},
        "workers": {"count": 2, "concurrency": 2, "name": f"worker {EVIL}"},
        "jobs": {
            f"type {EVIL}": {"service": 0.01},
            f"failing {EVIL}": {"service": 0.1, "errors": {"network": 1.0}},
        },
        "load": [{"name": f"load {EVIL}", "poisson": 5.0}],
        "faults": [{"worker.crash": {"at": 20.0}}],
        "thresholds": [
            {"latency": "p95 < 0.001s", "where": {"job": f"type {EVIL}"}},
            {"throughput": "> 1/s", "where": {"load": f"load {EVIL}"}},
        ],
    }


@pytest.fixture(scope="module")
def result() -> Result:
    return queuesim.run(scenario(), progress=False)


@pytest.fixture(scope="module")
def failing() -> Result:
    """A handler's error with such a message and of such a type."""
    processor = Processor("q")

    class Strange(Exception):  # noqa: N818
        pass

    Strange.__name__ = f"Strange {EVIL}"

    @processor.job(f"own {EVIL}")
    async def own(job: Any) -> None:
        raise Strange(f"{EVIL} \ud800")

    asked = {"name": EVIL, "duration": 60.0, "jobs": {f"own {EVIL}": {}}, "load": [{"name": EVIL, "poisson": 1.0}]}
    return queuesim.run(asked, processor=processor, progress=False)


def terminal(result: Result) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    render(result, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


FACES: dict[str, Callable[[Result], str]] = {
    "terminal": terminal,
    "notebook": lambda result: result._repr_html_(),
    "notebook summary": lambda result: result.summary()._repr_html_(),
    "page": page,
    "markdown": markdown,
    "junit": junit,
    "verdict": digest.verdict,
    "error lines": lambda result: "\n".join(digest.error_lines(result)),
    "comparison": lambda result: compare_view(result),
    "scenario": lambda result: Scenario.model_validate(scenario())._repr_html_(),
}


def compare_view(result: Result) -> str:
    view: Any = compare(result, result)
    html = getattr(view, "_repr_html_", None)
    return str(html()) if html else str(view)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("which", ["result", "failing"])
def test_no_face_contains_what_its_reader_would_obey(face: str, which: str, request: pytest.FixtureRequest) -> None:
    text = FACES[face](request.getfixturevalue(which))
    assert not OBEYED.findall(text)
    if face not in ("terminal", "verdict", "error lines"):
        assert "<script>alert" not in text


def test_junit_is_valid_xml_and_still_tells_the_name(result: Result) -> None:
    suite = ET.fromstring(junit(result)).find("testsuite")
    assert suite is not None
    assert suite.attrib["name"].startswith(r"run \x1b[2J\x07\r\n\u202e\u2028$\frac{a$ <script>")


def test_cells_of_a_markdown_table_stay_cells(failing: Result) -> None:
    table = [line for line in markdown(failing).split("\n") if line.startswith("|")]
    for line in table:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) in (3, 7, 8, 9), line


PICTURES = [
    "overview", "gantt", "attempts", "retry_waterfall", "latency_over_time", "latency_distribution", "throughput",
    "backlog", "backlog_and_throughput", "limiter_windows", "overdue_batches",
]  # fmt: skip


@pytest.mark.parametrize("what", PICTURES)
def test_a_dollar_in_a_name_begins_no_formula(result: Result, what: str, tmp_path: Path) -> None:
    drawn: Any = getattr(result.plot, what)()
    drawn_as_svg(drawn, tmp_path)


def drawn_as_svg(drawn: Any, directory: Path) -> None:
    from matplotlib.text import Text

    figure = drawn.flat[0].figure if hasattr(drawn, "flat") else drawn.figure
    figure.savefig(directory / "drawn.svg")
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert not OBEYED.findall("".join(texts))


def test_so_it_is_in_pictures_of_several_runs(result: Result, failing: Result, tmp_path: Path) -> None:
    drawn_as_svg(result.plot.beside({f"other {EVIL}": failing}), tmp_path)
    drawn_as_svg(overlay({EVIL: result}), tmp_path)


def test_and_in_heat_maps(tmp_path: Path) -> None:
    asked = {**scenario(), "duration": 5.0, "faults": [], "thresholds": []}
    frame = sweep(asked, {"workers.concurrency": [1, 2], "load": [1, 2]}, ["throughput"], progress=False)
    frame = frame.rename(columns={"load": f"load {EVIL}"})
    drawn_as_svg(heat_map(frame, "workers.concurrency", f"load {EVIL}", "throughput"), tmp_path)


def test_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with run_bar(10.0, EVIL, True) as tell:
        if tell is not None:
            tell(10.0, 3)
    captured = capsys.readouterr()
    # the bar itself goes back to the line's beginning
    assert not OBEYED.findall((captured.out + captured.err).replace("\r", "").replace("\x1b[A", ""))


def test_commands_show_no_control_characters(result: Result, tmp_path: Path) -> None:
    result.to_parquet(tmp_path / "r")
    for command in (["show", "r"], ["plot", "r"], ["report", "r", "-o", "a.html", "-o", "a.md", "-o", "a.xml"]):
        arguments = [str(tmp_path / word) if word[0] in "ra" and word != "report" else word for word in command]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code in (0, 1), done.output
        assert not OBEYED.findall(done.stdout + done.stderr)
    ET.parse(tmp_path / "a.xml")


def test_a_found_scenario_is_saved_under_a_plain_name(tmp_path: Path) -> None:
    path = save({**scenario(), "name": f"../../etc/{EVIL}"}, tmp_path)
    assert path.parent == tmp_path
    assert re.fullmatch(r"[\w.-]+\.yaml", path.name)


def test_a_log_for_people_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    from queuesim.service.log import make_logger

    make_logger("console", "info").info("failed", job=EVIL, reason=EVIL)
    told = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().err)
    assert not OBEYED.findall(told)
