"""The list of validation cases: it covers what it should, and its service parameters mean what the formulas assume."""

from __future__ import annotations

import math

import numpy as np
import pytest

from queuesim.scenario.model import Scenario
from queuesim.simulation.random import Service
from queuesim.theory import MG1, MM1
from queuesim.theory.priority import PriorityClass, PriorityMG1, PriorityMMc
from queuesim.theory.validation import UNLIMITED, ValidationCase, cases, lognormal_percentile


def test_the_cases_cover_every_closed_form_once() -> None:
    listed = cases()
    assert len({case.name for case in listed}) == len(listed)
    assert {case.source for case in listed} >= {
        "Erlang 1917",
        "Crommelin 1932; Franx 2001",
        "Takács 1963",
        "Cobham 1954",
    }
    for case in listed:
        assert case.quantities
        assert all(quantity.expected > 0 and math.isfinite(quantity.expected) for quantity in case.quantities)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_each_case_is_a_scenario_with_the_load_it_names(case: ValidationCase) -> None:
    scenario = Scenario.model_validate(case.scenario(10_000), context={"file": True})
    (entry,), (workers,) = scenario.load, scenario.workers
    arrivals = entry.poisson or entry.constant
    if arrivals is None:
        assert entry.closed is not None
    else:
        assert arrivals.rate == pytest.approx(case.arrival_rate, rel=1e-12)
    assert scenario.duration == pytest.approx(10_000 / case.arrival_rate, abs=1e-3)
    shares = scenario.mix(entry)
    if workers.limiter is not None:
        # slots are to be no bottleneck, in the two windows that can begin within a service
        assert 0.6 < case.arrival_rate * workers.limiter.duration / workers.limiter.max < 0.9
        assert (workers.concurrency or 1) > 2 * workers.limiter.max
        return
    work = sum(share * _service(scenario, name).mean * _starts(scenario, name) for name, share in shares.items())
    assert 0.6 < case.arrival_rate * work / (workers.concurrency or 1) < 0.9


def _service(scenario: Scenario, name: str) -> Service:
    settings = scenario.job(name).service
    assert settings is not None
    return settings.model()


def _starts(scenario: Scenario, name: str) -> float:
    """Attempts of a job on average."""
    fails, attempts = 1 - _success(scenario, name), scenario.job(name).options(scenario.queue).attempts
    return (1 - fails**attempts) / (1 - fails)


def _success(scenario: Scenario, name: str) -> float:
    """The probability that an attempt succeeds."""
    return 1 - sum(scenario.job(name).errors.at(1).values())


def _scenario(name: str) -> tuple[ValidationCase, Scenario]:
    (case,) = (case for case in cases() if case.name == name)
    return case, Scenario.model_validate(case.scenario(10_000))


@pytest.mark.parametrize("name", ["M/M/1", "M/D/1", "M/G/1, lognormal, scv 2", "M/G/1, gamma, scv 0.5"])
def test_single_servers_expect_what_their_scenarios_service_gives(name: str) -> None:
    # the closed form of the moments that the scenario's own service model has
    case, scenario = _scenario(name)
    model = MG1.of(case.arrival_rate, _service(scenario, "job"))
    assert case.quantities[0].name == "mean waiting time"
    assert case.quantities[0].expected == pytest.approx(model.mean_waiting_time, rel=1e-6)


def test_feedback_expects_what_its_scenarios_errors_give() -> None:
    case, scenario = _scenario("M/M/1, Bernoulli feedback 0.3")
    options = scenario.job("job").options(scenario.queue)
    assert options.attempts == UNLIMITED
    assert options.backoff is not None
    assert options.backoff.base(1) == 0
    slower = MM1(case.arrival_rate, _service(scenario, "job").mean / _success(scenario, "job"))
    assert case.quantities[1].name == "mean time in system"
    assert case.quantities[1].expected == pytest.approx(slower.mean_time_in_system)


def test_priorities_expect_what_their_scenarios_classes_give() -> None:
    case, scenario = _scenario("M/M/1, 3 priorities, own services")
    shares = scenario.mix(scenario.load[0])
    assert [scenario.job(name).priority for name in shares] == [1, 2, 3]
    classes = [
        PriorityClass(case.arrival_rate * share, _service(scenario, name).mean) for name, share in shares.items()
    ]
    expected = [quantity.expected for quantity in case.quantities]
    assert expected == pytest.approx(list(PriorityMG1(classes).mean_waiting_times))
    case, scenario = _scenario("M/M/3, 3 priorities")
    rates = [case.arrival_rate * share for share in scenario.mix(scenario.load[0]).values()]
    expected = [quantity.expected for quantity in case.quantities]
    assert expected == pytest.approx(list(PriorityMMc(rates, 1.0, 3).mean_waiting_times))


def test_the_lognormal_percentile_gives_the_variation_that_the_formula_assumes() -> None:
    assert lognormal_percentile(3.0, 0.0, 95) == 3.0
    sigma = math.sqrt(math.log(3.0))  # a squared coefficient of variation of 2
    draws = np.random.default_rng(5).lognormal(-(sigma**2) / 2, sigma, 1_000_000)
    assert np.mean(draws) == pytest.approx(1.0, rel=0.01)
    assert np.quantile(draws, 0.95) == pytest.approx(lognormal_percentile(1.0, 2.0, 95), rel=0.01)
