"""Progress of runs and sweeps: on a terminal, in a notebook, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

import queuesim
from queuesim.results.views import progress
from queuesim.results.views.progress import count_bar, in_notebook

RUN = {
    "name": "short",
    "duration": "1m",
    "jobs": {"mail": {"service": "100ms"}},
    "load": [{"name": "steady", "constant": "1/s"}],
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error as a terminal of 80 columns."""
    for name, value in {"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


class Cell:
    """An output of a notebook's cell."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, bar: Any, display_id: bool) -> Cell:
        assert display_id
        self.update(bar)
        return self

    def update(self, content: Any, raw: bool = False) -> None:
        self.shown.append(content["text/html"] if raw else content._repr_mimebundle_((), ())["text/html"])


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A notebook, as far as the bar can tell."""
    import IPython.display

    cell = Cell()
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", cell.display)
    return cell


def test_outside_of_notebooks_a_bar_is_shown_only_if_asked_for(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not in_notebook()
    queuesim.run(RUN)
    assert capsys.readouterr().err == ""
    queuesim.run(RUN, progress=True)
    shown = capsys.readouterr().err
    assert "short" in shown
    assert shown.endswith("\x1b[2K")  # it is gone in the end


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_is_left_alone(
    terminal: None, term: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", term)
    queuesim.run(RUN, progress=True)
    assert capsys.readouterr().err.strip() == ""


def test_a_notebook_shows_it_in_an_output_of_its_own_and_takes_it_away(cell: Cell) -> None:
    with count_bar(4, "runs", True) as tell:
        assert tell is not None
        tell(2, 4)
    assert "runs" in cell.shown[0]
    assert "2 of 4 runs" in cell.shown[-2]
    assert cell.shown[-1] == ""


def test_a_run_that_a_threshold_ends_leaves_no_bar_behind(cell: Cell) -> None:
    result = queuesim.run({**RUN, "thresholds": [{"added": "< 10", "abort": True}]}, progress=True)
    assert result.facts.stopped is not None
    assert cell.shown[-1] == ""


def test_a_bar_that_nobody_asked_for_comes_only_to_long_runs(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 3600.0)
    queuesim.run(RUN)
    assert cell.shown == []
    monkeypatch.setattr(progress, "PATIENCE", 1e-9)
    queuesim.run(RUN)
    assert "short" in cell.shown[0]
    assert cell.shown[-1] == ""


def test_a_function_of_ones_own_is_called_instead() -> None:
    told: list[float] = []
    queuesim.run(RUN, progress=lambda now, finished: told.append(now))
    assert len(told) >= 100
    with count_bar(3, "runs", lambda done, of: told.append(done / of)) as tell:
        assert tell is not None
        tell(3, 3)
    assert told[-1] == 1.0


def test_a_bar_of_runs(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    with count_bar(4, "runs", True) as tell:
        assert tell is not None
        tell(1, 4)
    with count_bar(4, "quiet", None) as tell:
        assert tell is None
    shown = capsys.readouterr().err
    assert "1 of 4 runs" in shown
    assert "quiet" not in shown
