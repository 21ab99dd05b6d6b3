"""Outcomes as any broker can store them: each by itself, whatever a handler returned or raised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from queuesim.core.broker import Completed, Failed, Outcome, Postponed, Retried
from queuesim.core.job import LONGEST_DELAY
from queuesim.text import well_formed

LONGEST_TEXT = 2**27
"""Characters of one text. Redis takes no argument of more than 512 MB, and a character has up to 4 bytes."""


def storable(outcome: Outcome) -> Outcome:
    """The outcome with texts that every broker can store, or else a failure of its job with the reason."""
    try:
        return mended(outcome)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it concerns this job alone
        made = outcome.attempts_made if isinstance(outcome, (Completed, Failed, Retried)) else outcome.attempts_made + 1
        reason = unstorable(outcome, error)
        return Failed(outcome.job_id, outcome.token, reason, attempt=outcome.attempt, attempts_made=made)


def unstorable(outcome: Outcome, error: Exception) -> str:
    """Why an outcome can't be stored."""
    detail = well_formed(str(error))[0]
    return f"the outcome {type(outcome).__name__} can't be stored: {type(error).__name__}: {detail}"


def mended(outcome: Outcome) -> Outcome:
    """The outcome with lone surrogates replaced, and a note of that. The same object if there is nothing to mend.

    Raises:
        TypeError, ValueError: it can't be stored: a text is too long or not text, a delay is not a time.
    """
    if type(outcome) is Completed:
        text = outcome.value
        if type(text) is str and text.isascii() and len(text) < LONGEST_TEXT:
            return outcome
    return _Mending().mend(outcome)


class _Mending:
    """Makes the texts of one outcome well-formed, and counts what was replaced."""

    def __init__(self) -> None:
        self.replaced = 0

    def mend(self, outcome: Outcome) -> Outcome:
        changed: Outcome
        if isinstance(outcome, Completed):
            changed = replace(outcome, value=self.text(outcome.value))
        elif isinstance(outcome, Failed):
            changed = replace(outcome, reason=self.text(outcome.reason), stacktrace=self.rows(outcome.stacktrace))
            if outcome.dead_letter is not None:
                letter = replace(outcome.dead_letter, data=self.text(outcome.dead_letter.data))
                changed = replace(changed, dead_letter=letter)
        elif isinstance(outcome, Retried):
            changed = replace(
                outcome,
                delay=_delay(outcome.delay),
                reason=self.text(outcome.reason),
                stacktrace=self.rows(outcome.stacktrace),
                history=None if outcome.history is None else self.row(outcome.history),
            )
        elif isinstance(outcome, Postponed):
            changed = replace(outcome, delay=_delay(outcome.delay))
        else:
            changed = replace(outcome, hold=None if outcome.hold is None else _delay(outcome.hold))
        if changed == outcome:
            return outcome
        return replace(changed, note=self.note()) if self.replaced else changed

    def text(self, text: Any) -> str:
        if not isinstance(text, str):
            raise TypeError(f"a text is needed, not {type(text).__name__}")
        if len(text) >= LONGEST_TEXT:
            raise ValueError(f"a text of {len(text)} characters is too long: the longest is {LONGEST_TEXT - 1}")
        # a subclass of str may behave in any way
        good, replaced = well_formed(str.__str__(text))
        self.replaced += replaced
        return good

    def rows(self, rows: Sequence[str]) -> Sequence[str]:
        return tuple(self.text(row) for row in rows)

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {key: self.text(value) if isinstance(value, str) else value for key, value in row.items()}

    def note(self) -> str:
        what = "lone surrogate was" if self.replaced == 1 else "lone surrogates were"
        return (
            f"queuesim: {self.replaced} {what} replaced by U+FFFD in the outcome of this attempt: half of a character "
            "pair can't be stored as UTF-8"
        )


def _delay(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise ValueError(f"a time of 0 s or more is needed, not {seconds!r:.100}")
    return min(seconds, LONGEST_DELAY)
