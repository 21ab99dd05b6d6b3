"""The collected closed forms: Little's law for every model, and the example in the module's docstring."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

from queuesim import theory
from queuesim.theory.model import quantile

MODELS = [
    theory.MM1(0.7, 1.2),
    theory.MMc(4.0, 1.0, 5),
    theory.MD1(0.7, 1.2),
    theory.MDc(4.0, 1.0, 5),
    theory.MG1(0.7, 1.2, 3.0),
    theory.BernoulliFeedback(0.4, 1.2, 0.3, 2.0),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_the_jobs_in_system_are_those_in_the_queue_and_those_in_service(model: theory.Model) -> None:
    assert model.mean_jobs_in_system == pytest.approx(model.mean_queue_length + model.offered_load)
    assert model.mean_time_in_system == pytest.approx(model.mean_waiting_time + model.mean_work)
    assert 0 < model.probability_of_waiting < 1
    assert 0 < model.utilisation < 1


def test_constant_service_waits_least_and_variable_service_most() -> None:
    waits = [theory.MDc(4.0, 1.0, 5).mean_waiting_time, theory.MMc(4.0, 1.0, 5).mean_waiting_time]
    assert waits == sorted(waits)
    singles = [theory.MG1(0.8, 1.0, scv).mean_waiting_time for scv in (0.0, 0.5, 1.0, 4.0)]
    assert singles == sorted(singles)


def test_the_example_in_the_docstring_is_true() -> None:
    failed, tried = doctest.testmod(theory)
    assert tried > 0
    assert failed == 0


def test_quantile_finds_the_step_of_a_distribution_with_one() -> None:
    assert quantile(lambda t: 0.25 if t < 3.0 else 1.0, 0.2, 1.0) == 0.0
    assert quantile(lambda t: 0.25 if t < 3.0 else 1.0, 0.5, 1.0) == pytest.approx(3.0, rel=1e-12)
    with pytest.raises(ValueError):
        quantile(lambda t: t, -0.1, 1.0)


def test_the_closed_forms_load_no_scipy_and_no_pandas() -> None:
    code = (
        "import sys, queuesim.theory, queuesim.experiments.interval;"
        "print([name for name in ('scipy', 'pandas') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "[]"
