"""The pages say what the program does: tables of keys, metrics and columns, links, commands, and the picture."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from codeblocks import PAGES, ROOT, blocks
from tools import scenario_keys

import queuesim
from queuesim.results.frames import FRAMES
from queuesim.results.recording import ENDINGS
from queuesim.results.result import Result

METRICS = ROOT / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def result() -> Result:
    return queuesim.run(ROOT / "scenarios" / "task-processing.yaml")


# -- docs/scenarios.md


def test_tables_of_keys_are_as_the_schema_has_them() -> None:
    page = scenario_keys.PAGE.read_text()
    assert page == scenario_keys.filled(page), "make them again: python tools/scenario_keys.py"


def test_every_section_of_a_scenario_has_a_table() -> None:
    shown = re.findall(r"<!-- keys of (\w+) -->", scenario_keys.PAGE.read_text())
    sections = scenario_keys.sections()
    # the kinds of faults share one table
    faults = {value["$ref"].rpartition("/")[2] for value in sections["FaultEntry"]["properties"].values()}
    assert sorted(shown) == sorted([*(set(sections) - faults), "metrics", "health"])


def test_a_key_without_a_table_row_is_noticed() -> None:
    page = scenario_keys.PAGE.read_text()
    without = "".join(line for line in page.splitlines(keepends=True) if not line.startswith("| `max_stalled`"))
    assert without != page
    assert scenario_keys.filled(without) == page


# -- docs/metrics.md


def table_of(title: str, page: Path = METRICS) -> list[tuple[str, str, str]]:
    """Column, dtype and unit of the table below a heading."""
    section = page.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    table = section.partition("|---")[2].partition("\n\n")[0]
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in table.splitlines()[1:]]
    return [(column, dtype, unit) for column, dtype, unit, _ in rows]


@pytest.mark.parametrize("frame", [*FRAMES, "timeline(every)"])
def test_every_column_of_a_frame_is_told_in_order_with_its_dtype(result: Result, frame: str) -> None:
    held = result.timeline("1h") if frame not in FRAMES else getattr(result, frame)
    told = table_of(f"result.{frame}")
    assert [(column, dtype) for column, dtype, _ in told] == [(name, str(kind)) for name, kind in held.dtypes.items()]


def test_every_number_has_a_unit() -> None:
    told = [row for frame in [*FRAMES, "timeline(every)"] for row in table_of(f"result.{frame}")]
    assert [column for column, dtype, unit in told if dtype == "float64" and not unit] == []


@pytest.mark.parametrize("frame", FRAMES)
def test_points_in_time_are_those_of_the_calendar(result: Result, frame: str) -> None:
    placed = getattr(result.calendar, frame)
    for column, dtype, unit in table_of(f"result.{frame}"):
        if dtype == "float64":
            expected = ("datetime64[us, UTC]", "Float64") if unit == "s" else ("Float64",)
            assert str(placed[column].dtype) in expected, column
        else:
            assert str(placed[column].dtype) == dtype


def test_every_outcome_is_told() -> None:
    told = re.search(r"\| outcome \| meaning \|\n\|---\|---\|\n(.*?)\n\n", METRICS.read_text(), re.DOTALL)
    assert told is not None
    assert tuple(re.findall(r"^\| `([\w-]+)`", told[1], re.MULTILINE)) == ENDINGS


# -- docs/theory.md

THEORY = ROOT / "docs" / "theory.md"


def test_every_column_of_a_comparison_with_theory_is_told(result: Result) -> None:
    told = table_of("Theory beside a run", THEORY)
    frame = result.theory()
    assert [(column, dtype) for column, dtype, _ in told] == [(name, str(kind)) for name, kind in frame.dtypes.items()]
    assert [column for column, dtype, unit in told if dtype == "float64" and not unit] == []


def test_every_model_is_told() -> None:
    from queuesim import theory
    from queuesim.theory.catalogue import CATALOGUE

    page = THEORY.read_text()
    named = set(re.findall(r"^\| ([^|`]+?) \|", page.partition("### Which models apply")[2], re.MULTILINE))
    for entry in CATALOGUE:
        assert entry.name in named | {"M/M/c/K", "M^X/M/1"}, entry.name
        assert entry.name in page
    helpers = {"Model", "Moments", "PriorityClass", "PriorityModel", "of", "superposed_scv"}
    assert [name for name in theory.__all__ if f"`{name}`" not in page and name not in helpers] == []


# -- README.md


def test_the_quick_start_is_two_commands() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Quick start\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^```\w*\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_picture_is_of_this_version(result: Result, tmp_path: Path) -> None:
    """Compared in grey squares of 40 pixels: other fonts and edges are no difference, another curve is."""
    from queuesim.cli.result_commands import draw

    draw(result, tmp_path / "run.png")
    shown, drawn = (
        squares(matplotlib.image.imread(path)) for path in (ROOT / "docs/images/run.png", tmp_path / "run.png")
    )
    assert shown.shape == drawn.shape
    assert float(np.abs(shown - drawn).max()) < 0.1, "make it again: the command is in the README"


def squares(image: np.ndarray, size: int = 40) -> np.ndarray:
    """The mean brightness of each square."""
    grey = image[..., :3].mean(axis=2)
    rows, columns = (length // size for length in grey.shape)
    return grey[: rows * size, : columns * size].reshape(rows, size, columns, size).mean(axis=(1, 3))


# -- all pages


def anchors(page: Path) -> set[str]:
    """What a link can lead to: the headings of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_is_a_block(page: Path) -> None:
    assert page.read_text().count("\n```") == 2 * len(blocks(page))


# -- the site


def test_every_page_is_in_the_navigation() -> None:
    """Sphinx says so, too, but later."""
    home = ROOT / "docs" / "index.md"
    listed = "\n".join(block.text for block in blocks(home) if block.language == "{toctree}")
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert set(re.findall(r"^([\w-]+)$", listed, re.MULTILINE)) == pages, "list it at the end of docs/index.md"


REFERENCE = [
    entry
    for page in (ROOT / "docs").glob("reference*.md")
    for entry in re.findall(r"^\.\. auto\w+:: queuesim\.(\S+)$", page.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("name", queuesim.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    home = getattr(queuesim, name).__module__.removeprefix("queuesim.")
    assert {home, f"{home}.{name}"} & set(REFERENCE)


def test_every_part_that_users_meet_is_in_the_reference() -> None:
    parts = {entry.partition(".")[0] for entry in REFERENCE}
    assert parts >= {
        *("scenario", "runs", "results", "notebook", "theory", "experiments", "recordings", "brokers", "service"),
        *("tasks", "admin", "check", "evaluation", "testing", "simulation"),
    }
    assert len(REFERENCE) == len(set(REFERENCE)), "an entry is on two pages"


@pytest.mark.parametrize("entry", REFERENCE)
def test_what_the_reference_names_is_there(entry: str) -> None:
    import pkgutil

    assert pkgutil.resolve_name(f"queuesim.{entry}").__doc__
