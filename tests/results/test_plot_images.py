"""The plots look as they did: each beside its reference image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")
import matplotlib.image
from metrics_script import Script
from plotimages import IMAGES, PICTURES, day, draw

from queuesim.results.plots import Plots
from queuesim.results.result import Result

TOLERANCE = 0.1
"""Of a square's mean colour: other fonts and edges are no difference, another curve or colour is."""


def squares(path: Path, size: int = 12) -> np.ndarray:
    """The mean colour of each square of pixels, from 0 to 1."""
    image = matplotlib.image.imread(path)[..., :3]
    rows, columns = (length // size for length in image.shape[:2])
    return image[: rows * size, : columns * size].reshape(rows, size, columns, size, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("name", PICTURES)
def test_it_looks_as_it_did(name: str, tmp_path: Path) -> None:
    draw(name).savefig(tmp_path / "drawn.png")
    shown, drawn = squares(IMAGES / f"{name}.png"), squares(tmp_path / "drawn.png")
    assert shown.shape == drawn.shape
    difference = float(np.abs(shown - drawn).max())
    assert difference < TOLERANCE, f"look at it, and draw it again: {sys.executable} tests/results/plotimages.py"


def test_another_curve_is_noticed(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=50, layout="constrained")
    day(slots=3).plot.backlog(figure.subplots())
    figure.savefig(tmp_path / "other.png")
    assert np.abs(squares(IMAGES / "backlog.png") - squares(tmp_path / "other.png")).max() > 2 * TOLERANCE


def test_every_plot_of_a_result_has_an_image() -> None:
    plots = {name.replace("_", "-") for name in vars(Plots) if not name.startswith("_")} - {"overview", "beside"}
    assert plots <= set(PICTURES)


def test_images_are_small() -> None:
    assert sum(path.stat().st_size for path in IMAGES.glob("*.png")) < 300_000


def test_faults_are_shaded_in_every_plot_over_time() -> None:
    from matplotlib.figure import Figure

    result = day()
    for name in ("throughput", "backlog", "backlog_and_throughput", "latency_over_time", "limiter_windows",
                 "overdue_batches", "gantt"):  # fmt: skip
        ax = getattr(result.plot, name)(Figure().subplots())
        for panel in ax.child_axes or [ax]:
            assert {"redis.outage", "worker.crash"} <= set(panel.get_legend_handles_labels()[1]), name


def test_a_sweep_without_a_measurement_or_a_column() -> None:
    from matplotlib.figure import Figure
    from plotimages import sweep_frame

    from queuesim.results.plots.comparison import heat_map, overlay

    frame = sweep_frame().assign(**{"latency.p95": np.nan})
    ax = heat_map(frame, "load", "workers.concurrency", "latency.p95", Figure().subplots())
    assert [text.get_text() for text in ax.texts] == ["latency.p95 was not measured in any run"]
    with pytest.raises(ValueError, match=r"no column 'speed'; there are workers\.concurrency, load"):
        heat_map(frame, "load", "speed", "latency.p95", Figure().subplots())
    with pytest.raises(ValueError, match="no column 'speed'; there are added"):
        overlay({"a": day()}, "speed", Figure().subplots())
    assert overlay({}, "backlog", Figure().subplots()).texts[0].get_text() == "no run to draw"


def test_a_heat_map_of_skewed_values_is_logarithmic_and_one_of_shares_is_not() -> None:
    from matplotlib.figure import Figure

    from queuesim.results.plots.comparison import heat_map

    rows = [(1, 10, 0.0), (1, 20, 0.01), (2, 10, 1.0), (2, 20, 100.0)]
    for name, logarithmic in (("waiting.p95", True), ("utilisation", False)):
        frame = pd.DataFrame(rows, columns=["workers.concurrency", "load", name])
        ax = heat_map(frame, "load", "workers.concurrency", name, Figure().subplots())
        shades = np.asarray(ax.images[0].get_array())
        # 1 is half way from 0.01 to 100, counted in factors of ten
        half = (shades[1, 0] - shades[0, 1]) / (shades[1, 1] - shades[0, 1])
        assert half == pytest.approx(0.5 if logarithmic else 0.01, abs=0.001)
        assert ("logarithmic" in ax.get_title(loc="left")) == logarithmic
        assert shades[0, 0] == shades.min()


def test_one_burst_does_not_flatten_a_day() -> None:
    from queuesim.results.plots.style import top_of

    usual = np.array([3.0, 4.0, 5.0] * 40)
    assert top_of(np.append(usual, 500.0)) == 10.0
    assert top_of(np.append(usual, 12.0)) == 12.0
    assert top_of(np.append(usual, 500.0), least=20.0) == 500.0
    assert top_of(np.array([])) == top_of(np.zeros(3)) == 0.0


def test_a_chart_of_no_time_is_refused() -> None:
    from matplotlib.figure import Figure

    with pytest.raises(ValueError, match="from 20 s to 10 s shows nothing"):
        day().plot.gantt(Figure().subplots(), start=20.0, end=10.0)
    script = Script(100.0)
    script.attempt(script.job(0.0), 0.0, 1.0)
    ax = Result(script.recording()).plot.gantt(Figure().subplots(), start=50.0)
    assert ax.texts[0].get_text() == "no attempt ran from 50 s to 1 min 40 s"
