"""Results: what a run left behind, as records, frames, numbers, plots and reports."""

from __future__ import annotations


def register_faults() -> None:
    """Make all kinds of faults register themselves; asked for when a stored result is the first to name one.

    The package, which stands above results and faults, puts the function here that does it.
    """
