"""Progress of runs and sweeps by tqdm."""

from __future__ import annotations

import sys

import pytest

import queuesim
from queuesim.results.views import progress
from queuesim.results.views.progress import count_bar, in_notebook, wanted

RUN = {
    "name": "short",
    "duration": "1m",
    "jobs": {"mail": {"service": "100ms"}},
    "load": [{"name": "steady", "constant": "1/s"}],
}


def test_outside_of_notebooks_a_bar_is_shown_only_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    assert not wanted(None)
    queuesim.run(RUN)
    assert capsys.readouterr().err == ""
    queuesim.run(RUN, progress=True)
    shown = capsys.readouterr().err
    assert "short" in shown
    assert shown.rstrip(" ").endswith("\r")  # it is gone in the end


def test_a_bar_that_nobody_asked_for_comes_only_to_long_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 3600.0)
    queuesim.run(RUN)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    queuesim.run(RUN)
    assert "short" in capsys.readouterr().err


def test_a_notebook_without_tqdm_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    assert wanted(None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert not wanted(None)


def test_a_function_of_ones_own_is_called_instead() -> None:
    told: list[float] = []
    queuesim.run(RUN, progress=lambda now, finished: told.append(now))
    assert len(told) >= 100
    with count_bar(3, "runs", lambda done, of: told.append(done / of)) as tell:
        tell(3, 3)
    assert told[-1] == 1.0


def test_a_bar_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with count_bar(4, "runs", True) as tell:
        tell(1, 4)
    with count_bar(4, "quiet", None) as tell:
        tell(1, 4)
    shown = capsys.readouterr().err
    assert "runs" in shown
    assert "quiet" not in shown


def test_a_bar_is_complete_when_it_closes_so_that_it_never_stays_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    import tqdm.auto

    closed: list[tuple[float, float]] = []

    class Bar(tqdm.auto.tqdm):  # type: ignore[type-arg,misc]
        def close(self) -> None:
            if not self.disable:
                closed.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    queuesim.run({**RUN, "thresholds": [{"added": "< 10", "abort": True}]}, progress=True)
    with count_bar(3, "runs", True) as tell:
        tell(2, 3)
    ends = set(closed)
    assert len(ends) == 2
    assert all(done == total for done, total in ends)
