from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from queuesim.simulation.random import Draws, Streams


def test_same_seed_and_name_give_the_same_stream() -> None:
    first = Streams(42).named("arrivals/office-hours").random(100)
    streams = Streams(42)
    streams.named("service/task-created").random(1000)
    assert np.array_equal(streams.named("arrivals/office-hours").random(100), first)


def test_streams_do_not_change_between_releases() -> None:
    # a change here changes the outcome of everybody's scenarios: say so in the changelog
    assert Streams(42).named("arrivals").random() == 0.12086698325208212
    assert Streams(42).python("backoff").random() == 0.26667138765963594


def test_names_seeds_and_kinds_give_different_streams() -> None:
    draws = [
        Streams(1).named("a").random(),
        Streams(1).named("b").random(),
        Streams(2).named("a").random(),
        Streams(1).python("a").random(),
        Streams(1).python("b").random(),
        Streams(2).python("a").random(),
        Streams(2**200).named("a").random(),
        Streams(2**200 + 1).named("a").random(),
    ]
    assert len(set(draws)) == len(draws)


def test_streams_with_similar_names_are_uncorrelated() -> None:
    samples = np.array([Streams(7).named(f"source-{i}").random(5000) for i in range(20)])
    correlations = np.corrcoef(samples)[np.triu_indices(20, k=1)]
    # 190 pairs, standard deviation 1/sqrt(5000): 5 of them is one chance in ten thousand
    assert np.abs(correlations).max() < 5 / np.sqrt(5000)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be 0 or more, not -1"):
        Streams(-1)


@pytest.mark.parametrize("batch", [1, 7, 4096])
def test_draws_are_those_of_the_generator_whatever_the_batch(batch: int) -> None:
    rng = Streams(3).named("x")
    draws = Draws(rng.standard_exponential, batch)
    assert list(islice(draws, 20)) == Streams(3).named("x").standard_exponential(20).tolist()


def test_draws_are_plain_floats_made_a_batch_at_a_time() -> None:
    sizes: list[int] = []

    def draw(count: int) -> np.typing.NDArray[np.float64]:
        sizes.append(count)
        return np.zeros(count)

    draws = Draws(draw, 10)
    assert not sizes
    assert {type(value) for value in islice(draws, 10)} == {float}
    assert sizes == [10]
    next(draws)
    assert sizes == [10, 10]
    assert isinstance(draws, Draws)
