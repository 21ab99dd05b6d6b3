"""Queueing theory: closed forms to compare simulations with.

`MM1`, `MMc`, `MG1`, `MD1`, `MDc`, `BernoulliFeedback`, `PriorityMG1` and `PriorityMMc` are models in steady state; all
times are in seconds and rates per second. A model without a steady state raises ValueError when it is made.

    >>> from queuesim.theory import MMc
    >>> round(MMc(arrival_rate=4.0, mean_service=1.0, servers=5).mean_waiting_time, 4)
    0.5541
"""

from __future__ import annotations

from queuesim.theory.models import MD1, MG1, MM1, BernoulliFeedback, MDc, MMc, Model, Moments, erlang_b, erlang_c
from queuesim.theory.priority import PriorityClass, PriorityMG1, PriorityMMc, PriorityModel

__all__ = [
    "MD1",
    "MG1",
    "MM1",
    "BernoulliFeedback",
    "MDc",
    "MMc",
    "Model",
    "Moments",
    "PriorityClass",
    "PriorityMG1",
    "PriorityMMc",
    "PriorityModel",
    "erlang_b",
    "erlang_c",
]
