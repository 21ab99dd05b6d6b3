"""The checks frame: a row for each threshold and invariant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from queuesim.metrics.frames.columns import frame, known_labels
from queuesim.metrics.recording import CheckRow

KINDS = ("threshold", "oracle")
"""What sorts of checks there are."""


def checks_frame(checks: Sequence[CheckRow]) -> pd.DataFrame:
    """Columns: check (its name), kind (threshold or oracle), ok, value (what was measured; of an oracle: the number of
    violations; NaN: there was nothing to measure), limit (what was asked for), at (end of the sliding window that
    failed, in seconds; NaN: none), detail (of an oracle: the first witnesses)."""
    return frame(
        {
            "check": pd.Series([check.name for check in checks], dtype=str),
            "kind": known_labels([check.kind for check in checks], KINDS),
            "ok": np.array([check.ok for check in checks], dtype=bool),
            "value": np.array([check.value for check in checks], dtype=np.float64),
            "limit": pd.Series([check.limit for check in checks], dtype=str),
            "at": np.array([math.nan if check.at is None else check.at for check in checks], dtype=np.float64),
            "detail": pd.Series([check.detail for check in checks], dtype=str),
        }
    )


class Checks(pd.DataFrame):
    """The checks, shown in a notebook with a mark each, what failed first. What is taken out of it is plain pandas."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f'<tr><td style="color: {"#007a5a" if row.ok else "#b34700"}">{"✓" if row.ok else "✗"}</td>'
            f"<td>{escape(str(row.check))}</td><td>{row.kind}</td><td>{row.value:.6g}</td>"
            f"<td>{escape(str(row.limit))}</td><td>{escape(str(row.detail))}</td></tr>"
            for row in self.sort_values("ok", kind="stable").itertuples()
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "check", "kind", "value", "limit", "detail"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
