"""The checks frame: a row for each threshold and invariant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import frame, known_labels
from queuesim.metrics.recording import STATUSES, CheckRow
from queuesim.metrics.text import measured

KINDS = ("threshold", "health", "oracle")
"""What sorts of checks there are."""


def checks_frame(checks: Sequence[CheckRow]) -> pd.DataFrame:
    """Columns: check (its name), kind (one of KINDS), status (one of STATUSES), ok (False if it failed), value (what
    was measured; of an oracle: the number of violations; NaN: there was nothing to measure), unit (of the value), limit
    (what was asked for), at (in seconds: the end of the worst sliding window, or when an extreme was reached or a count
    went beyond its limit; NaN: no such moment), judged (share of the run that the check could judge, 0 to 1), detail
    (the cause; of an oracle: the first witnesses)."""
    return frame(
        {
            "check": pd.Series([check.name for check in checks], dtype=str),
            "kind": known_labels([check.kind for check in checks], KINDS),
            "status": known_labels([check.status for check in checks], STATUSES),
            "ok": np.array([check.ok for check in checks], dtype=bool),
            "value": np.array([check.value for check in checks], dtype=np.float64),
            "unit": pd.Series([check.unit for check in checks], dtype=str),
            "limit": pd.Series([check.limit for check in checks], dtype=str),
            "at": np.array([math.nan if check.at is None else check.at for check in checks], dtype=np.float64),
            "judged": np.array([check.judged for check in checks], dtype=np.float64),
            "detail": pd.Series([check.detail for check in checks], dtype=str),
        }
    )


MARKS = {"passed": ("✓", "#007a5a"), "failed": ("✗", "#b34700"), "not judged": ("–", "#666666")}
"""For each status of a check: its mark and the mark's colour."""


class Checks(pd.DataFrame):
    """The checks, shown in a notebook with a mark each, what failed first. What is taken out of it is plain pandas."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        from html import escape

        shown = self.sort_values("status", kind="stable")
        values = [measured(value, unit) for value, unit in zip(shown["value"].tolist(), shown["unit"], strict=True)]
        rows = "".join(
            f'<tr><td style="color: {MARKS[str(row.status)][1]}">{MARKS[str(row.status)][0]}</td>'
            f"<td>{escape(str(row.check))}</td><td>{row.kind}</td><td>{escape(value)}</td>"
            f"<td>{escape(str(row.limit))}</td><td>{escape(str(row.detail))}</td></tr>"
            for row, value in zip(shown.itertuples(), values, strict=True)
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "check", "kind", "value", "limit", "detail"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
