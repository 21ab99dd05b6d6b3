"""Confidence intervals: known values of Student's t, coverage of known means, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from queuesim import extras
from queuesim.experiments.interval import (
    Interval,
    batch_means,
    paired,
    quantile_bounds,
    replications,
    share_bounds,
    student_t,
)


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    # any printed table of Student's t, two-sided
    [(0.95, 1, 12.706), (0.95, 9, 2.262), (0.95, 29, 2.045), (0.99, 9, 3.250), (0.99, 29, 2.756), (0.90, 4, 2.132)],
)
def test_student_t_agrees_with_the_printed_table(confidence: float, degrees: int, expected: float) -> None:
    assert student_t(confidence, degrees) == pytest.approx(expected, abs=5e-4)


def test_an_interval_worked_by_hand() -> None:
    # mean 3, sample variance 2.5, so the standard error is sqrt(0.5); t at 95 % and 4 degrees is 2.776
    interval = replications([1, 2, 3, 4, 5], confidence=0.95)
    assert interval.mean == 3
    assert interval.half_width == pytest.approx(2.7764 * 0.5**0.5, rel=1e-4)
    assert (interval.samples, interval.confidence) == (5, 0.95)
    assert 3 in interval
    assert interval.low in interval
    assert interval.high + 1e-9 not in interval
    assert str(Interval(1.23456789, 0.0123, 0.99, 5)) == "1.23457 ± 0.012 (99%)"


def autoregressive(rng: np.random.Generator, rows: int, length: int, memory: float) -> np.ndarray:
    """Rows of an AR(1) process of mean 5, x' = 5 + memory (x - 5) + noise, that starts in its steady state."""
    noise = rng.standard_normal((rows, length))
    series = np.empty((rows, length))
    series[:, 0] = noise[:, 0] / np.sqrt(1 - memory**2)
    for step in range(1, length):
        series[:, step] = memory * series[:, step - 1] + noise[:, step]
    return series + 5.0


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_replications_cover_the_true_mean_as_often_as_stated(confidence: float) -> None:
    draws = np.random.default_rng(1).normal(5.0, 2.0, (2_000, 6))
    covered = np.mean([5.0 in replications(row, confidence=confidence) for row in draws])
    # four standard errors of a proportion over 2000 trials
    assert covered == pytest.approx(confidence, abs=4 * np.sqrt(confidence * (1 - confidence) / 2_000))


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_batch_means_cover_the_true_mean_as_often_as_stated(memory: float) -> None:
    runs = autoregressive(np.random.default_rng(2), rows=600, length=6_000, memory=memory)
    covered = np.mean([5.0 in batch_means(run, batches=20, confidence=0.9) for run in runs])
    assert covered == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 600))


def test_an_interval_over_single_observations_would_be_too_narrow() -> None:
    # this is why batches exist: it shows that the coverage test above can tell right from wrong
    runs = autoregressive(np.random.default_rng(2), rows=600, length=1_000, memory=0.8)
    assert np.mean([5.0 in replications(run, confidence=0.9) for run in runs]) < 0.6


def test_batch_means_drop_the_warm_up_and_a_remainder() -> None:
    # 7 of warm-up and 1 that does not fill a batch of 4
    values = [1000.0] * 8 + [1.0] * 4 + [2.0] * 4 + [3.0] * 4
    interval = batch_means(values, batches=3, warmup=7)
    assert interval.mean == 2.0
    assert interval.samples == 3
    assert interval.half_width == replications([1.0, 2.0, 3.0]).half_width


def test_what_makes_no_interval_is_refused() -> None:
    with pytest.raises(ValueError):
        replications([1.0])
    with pytest.raises(ValueError):
        replications([1.0, float("nan")])
    with pytest.raises(ValueError):
        replications([[1.0, 2.0]])
    with pytest.raises(ValueError):
        batch_means([1.0, 2.0], batches=1)
    with pytest.raises(ValueError):
        batch_means([1.0] * 5, batches=2, warmup=4)
    with pytest.raises(ValueError):
        batch_means([1.0] * 5, batches=2, warmup=-1)
    with pytest.raises(ValueError):
        replications([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError):
        student_t(0.95, 0)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Clopper and Pearson at 95 %, from any printed table
    [(0, 20, 0.0, 0.1684), (20, 20, 0.8316, 1.0), (3, 20, 0.0321, 0.3789), (50, 100, 0.3983, 0.6017)],
)
def test_bounds_of_a_share_agree_with_the_printed_table(count: int, of: int, low: float, high: float) -> None:
    bounds = share_bounds(count, of)
    assert (bounds.low, bounds.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert count / of in bounds


@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_bounds_of_a_quantile_hold_it_at_least_as_often_as_stated(probability: float) -> None:
    draws = np.random.default_rng(5).exponential(size=(2_000, 60))
    true = -np.log(1 - probability)
    covered = np.mean([true in quantile_bounds(row, probability, confidence=0.9) for row in draws])
    # binomial bounds are conservative: above 90 %, and not by much
    assert 0.88 < covered < 0.96


def test_a_quantile_has_no_bound_where_there_are_too_few_values() -> None:
    # 0.95 ** 72 is below 2.5 %
    assert quantile_bounds(range(72), 0.95).high == 71
    assert quantile_bounds(range(71), 0.95).high == np.inf
    assert quantile_bounds(range(5), 0.01).low == -np.inf
    assert quantile_bounds([7.0], 0.5).estimate == 7


def test_a_paired_interval_leaves_out_what_pairs_have_in_common() -> None:
    rng = np.random.default_rng(6)
    common, own = rng.normal(0, 10, 20), rng.normal(0, 1, (2, 20))
    first, second = common + own[0] + 3, common + own[1]
    interval = paired(first, second)
    assert 3 in interval
    assert interval.half_width < 1.5
    assert replications(first).half_width > 3
    with pytest.raises(ValueError):
        paired([1.0, 2.0], [1.0, 2.0, 3.0])


def test_what_makes_no_bounds_is_refused() -> None:
    with pytest.raises(ValueError):
        share_bounds(0, 0)
    with pytest.raises(ValueError):
        share_bounds(3, 2)
    with pytest.raises(ValueError):
        share_bounds(1, 2, confidence=95)
    with pytest.raises(ValueError):
        quantile_bounds([], 0.5)
    with pytest.raises(ValueError):
        quantile_bounds([1.0, float("nan")], 0.5)
    with pytest.raises(ValueError):
        quantile_bounds([1.0, 2.0], 95)


def test_a_missing_scipy_is_named_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(ImportError, match=r"confidence intervals need scipy.*pip install .*'\.\[analysis\]'"):
        student_t(0.95, 9)
