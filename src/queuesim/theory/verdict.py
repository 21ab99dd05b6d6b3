"""Verdict: whether a model applies to a run, why, and what it predicts of it."""

from __future__ import annotations

from dataclasses import dataclass

from queuesim.theory.assumption import Assumption
from queuesim.theory.catalogue import Kind, Prediction
from queuesim.theory.measured import Comparison


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model applies to a run."""

    model: str
    source: str
    kind: Kind
    applies: bool
    holds: tuple[Assumption, ...] = ()
    violated: tuple[Assumption, ...] = ()
    """What does not hold: why the model does not apply, or what makes it inexact."""
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one model beside what the run measured."""

    verdict: Verdict
    prediction: Prediction
    comparison: Comparison
