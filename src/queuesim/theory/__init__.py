"""Queueing theory: closed forms, approximations and bounds to compare simulations with.

All models are of a steady state; times are in seconds and rates per second. A system without a steady state raises
UnstableError when its model is made, which names the offered load and the capacity.

    >>> from queuesim.theory import MMc
    >>> round(MMc(arrival_rate=4.0, mean_service=1.0, servers=5).mean_waiting_time, 4)
    0.5541
"""

from __future__ import annotations

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
    "superposed_scv",
]
