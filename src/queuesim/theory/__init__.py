"""Queueing theory: closed forms, approximations and bounds to compare simulations with.

All models are of a steady state; times are in seconds and rates per second. A system without a steady state raises
UnstableError when its model is made, which names the offered load and the capacity. `of` compares a run with theory.

    >>> from queuesim.theory import MMc
    >>> round(MMc(arrival_rate=4.0, mean_service=1.0, servers=5).mean_waiting_time, 4)
    0.5541
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuesim.theory.batches import MXG1, MXM1, BatchGGc, superposed_scv
from queuesim.theory.deterministic import MD1, MDc
from queuesim.theory.erlang import erlang_b, erlang_c
from queuesim.theory.feedback import BernoulliFeedback
from queuesim.theory.finite_source import MachineRepair
from queuesim.theory.general import DM1, GG1, MG1, GGc
from queuesim.theory.limiter import WindowLimiter
from queuesim.theory.markovian import MM1, MMc, MMcK
from queuesim.theory.model import Model, Moments, UnstableError
from queuesim.theory.priority import PriorityClass, PriorityMG1, PriorityMMc, PriorityModel

if TYPE_CHECKING:
    from queuesim.results.recording import RunFrames
    from queuesim.theory.frame import TheoryFrame

__all__ = [
    "DM1",
    "GG1",
    "MD1",
    "MG1",
    "MM1",
    "MXG1",
    "MXM1",
    "BatchGGc",
    "BernoulliFeedback",
    "GGc",
    "MDc",
    "MMc",
    "MMcK",
    "MachineRepair",
    "Model",
    "Moments",
    "PriorityClass",
    "PriorityMG1",
    "PriorityMMc",
    "PriorityModel",
    "UnstableError",
    "WindowLimiter",
    "erlang_b",
    "erlang_c",
    "of",
    "superposed_scv",
]


def of(result: RunFrames) -> TheoryFrame:
    """Compare a run with every model of queueing theory that applies to it; `Result.theory` is the same.

    Returns:
        A frame with a row for each figure of each model that applies: predicted, measured, how far the run is off, and
        which of the model's assumptions hold. Its `models` say of every model why it applies or why not. See
        `queuesim.theory.frame.make_frame` for the columns.

    Raises:
        MissingExtraError: scipy is not installed, which intervals need.
    """
    from queuesim.theory.comparison import compare_with_theory

    return compare_with_theory(result)
