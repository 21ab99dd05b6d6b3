"""Random streams: a generator of its own for each source of randomness, so that adding one never shifts another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from itertools import chain
from typing import Self, cast

import numpy as np
import numpy.typing as npt


class Streams:
    """Independent random generators by name, all from one seed.

    A generator depends on the seed and its name alone, neither on what else exists nor on the order of asking. Asking
    twice for a name gives the same stream from its beginning again.

    Args:
        seed: any whole number, 0 or more.

    Raises:
        ValueError: a seed below 0.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"a seed must be 0 or more, not {seed}")
        self.seed = seed

    def __repr__(self) -> str:
        return f"Streams({self.seed})"

    def named(self, name: str) -> np.random.Generator:
        """The stream `name`, as ``arrivals/office-hours``."""
        # PCG64 by name: what default_rng stands for may change, and with it all results
        return np.random.Generator(np.random.PCG64(self._sequence("numpy", name)))

    def python(self, name: str) -> random.Random:
        """The stream `name` as a generator of the standard library; independent of `named` with the same name."""
        words = self._sequence("python", name).generate_state(8)
        return random.Random(int.from_bytes(words.tobytes(), "little"))

    def _sequence(self, kind: str, name: str) -> np.random.SeedSequence:
        digest = hashlib.sha256(f"{kind}:{name}".encode()).digest()
        words = np.frombuffer(digest, dtype="<u4")
        return np.random.SeedSequence(self.seed, spawn_key=tuple(int(word) for word in words))


class Draws(chain["float"]):
    """An endless iterator over draws that are made in batches: about 40 ns each, where a single draw takes 500 ns.

    All of it runs in C, for a simulation takes several draws a job.

    Args:
        draw: makes so many draws at once.
        batch: how many to make at a time.
    """

    def __new__(cls, draw: Callable[[int], npt.NDArray[np.float64]], batch: int = 4096) -> Self:
        # iter() with a sentinel that never comes calls for the next batch when the last is used up
        batches = iter(lambda: cast("list[float]", draw(batch).tolist()), [])
        return cast("Self", cls.from_iterable(batches))
