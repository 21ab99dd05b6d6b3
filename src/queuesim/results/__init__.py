"""Results: what a run left behind, as records, frames, numbers, plots and reports."""

from __future__ import annotations

from typing import Any


def register_faults() -> None:
    """Make all kinds of faults register themselves; asked for when a stored result is the first to name one.

    The package, which stands above results and faults, puts the function here that does it.
    """


def theory(result: Any) -> Any:
    """Compare a run with queueing theory: the frame that `Result.theory` returns.

    The package, which stands above results and theory, puts the function here that does it.
    """
    raise NotImplementedError
