from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from queuesim.inputfile import TableError
from queuesim.simulation.random import Constant, Empirical, Exponential, Gamma, Service, Uniform
from queuesim.simulation.service_times import ServiceTime

FILE = {"file": True}


@pytest.mark.parametrize(
    ("written", "model"),
    [
        ("80ms", Constant(0.08)),
        (0, Constant(0.0)),
        ({"constant": "80ms"}, Constant(0.08)),
        ({"exponential": "120ms"}, Exponential(0.12)),
        ({"exponential": {"mean": "120ms"}}, Exponential(0.12)),
        ({"gamma": {"mean": "200ms", "cv": 0.5}}, Gamma(0.2, 4.0)),
        ({"gamma": {"mean": "200ms", "std": "100ms"}}, Gamma(0.2, 4.0)),
        ({"gamma": {"mean": "200ms", "shape": 4}}, Gamma(0.2, 4.0)),
        ({"uniform": {"low": 0, "high": "1s"}}, Uniform(0.0, 1.0)),
    ],
)
def test_every_form_gives_its_distribution(written: Any, model: Service) -> None:
    service = ServiceTime.model_validate(written, context=FILE)
    assert service.model() == model
    again = ServiceTime.model_validate(service.model_dump(mode="json", exclude_unset=True), context=FILE)
    assert again == service


@pytest.mark.parametrize(("key", "percent"), [("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)])
def test_a_lognormal_has_the_percentile_that_is_asked_for(key: str, percent: int) -> None:
    value = "100ms" if percent == 50 else "250ms"
    model = ServiceTime.model_validate({"lognormal": {"mean": "120ms", key: value}}, context=FILE).model()
    assert model.mean == 0.12
    assert model.percentile(percent) == pytest.approx(0.1 if percent == 50 else 0.25)  # type: ignore[attr-defined]


def test_an_empirical_time_reads_its_file_in_its_unit(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("name,took\na,100\nb,300\n")
    written = {"empirical": {"file": "times.csv", "column": "took", "unit": "ms"}}
    service = ServiceTime.model_validate(written, context={"file": True, "directory": tmp_path})
    assert service.model() == Empirical((0.1, 0.3))
    (tmp_path / "times.csv").unlink()
    assert service.model().mean == 0.2, "the file is read once"


def test_a_file_that_is_not_there_is_told_when_it_is_needed(tmp_path: Path) -> None:
    service = ServiceTime.model_validate({"empirical": {"file": str(tmp_path / "none.txt"), "unit": "s"}})
    with pytest.raises(TableError, match="no such file"):
        service.model()


def test_in_python_numbers_are_seconds() -> None:
    assert ServiceTime.model_validate(0.08).model() == Constant(0.08)
    assert ServiceTime.model_validate({"exponential": 0.12}).model() == Exponential(0.12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0])
def test_a_shape_is_above_zero_and_finite(bad: float) -> None:
    for key in ("cv", "shape"):
        with pytest.raises(ValidationError):
            ServiceTime.model_validate({"gamma": {"mean": 1.0, key: bad}})
