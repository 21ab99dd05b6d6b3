"""The frame of a comparison with theory, and how it is shown: as text, in a notebook, and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from queuesim.results.markup import fill
from queuesim.text import measured, shown
from queuesim.theory.verdict import Row, Verdict

COLUMNS = (
    *("model", "jobs", "figure", "unit", "predicted", "measured", "difference", "half_width", "half_widths"),
    *("kind", "holds", "violated", "note", "source"),
)
UNITS = {"waiting": "s", "utilisation": "share", "throughput": "1/s", "backlog": "jobs"}
"""Unit of each metric that models predict."""


class TheoryFrame(pd.DataFrame):
    """A row a figure of a model that applies, with views of its own. What is taken out of it is plain pandas.

    `models` is a frame with a row for each model: model, applies, kind, why (what holds and what does not), source.
    """

    _metadata = ["models"]  # noqa: RUF012
    models: pd.DataFrame

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return "\n".join(lines(self))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        parts = [(title, kind, notes, [_cells(row) for row in rows]) for title, kind, notes, rows in _by_model(self)]
        return fill("theory.html", parts=parts, head=HEAD, ruled_out=ruled_out(self.models), none=NONE)

    def to_json_records(self) -> dict[str, Any]:
        """Rows and models as plain values: what the command line prints as JSON."""
        return {"rows": self.to_dict(orient="records"), "models": self.models.to_dict(orient="records")}


def make_frame(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> TheoryFrame:
    """The frame of some rows, and of what was found of each model.

    Columns: model; jobs (which ones: all, or those of a priority); figure (a metric with its statistic); unit;
    predicted; measured; difference (measured / predicted - 1; NaN if the prediction is 0); half_width (of the 95 %
    interval of what was measured, by batch means; NaN if there is none); half_widths (how far the run is off in half
    widths: within -1 and 1, the prediction is in the interval); kind (exact, approximate, upper bound, lower bound);
    holds and violated (the model's assumptions, in words); note (why there is no interval); source.
    """
    frame = TheoryFrame([_values(row) for row in rows], columns=list(COLUMNS))
    numbers = ["predicted", "measured", "difference", "half_width", "half_widths"]
    frame[numbers] = frame[numbers].astype(np.float64)
    models = [
        (each.model, each.applies, str(each.kind), _said(each.holds if each.applies else each.violated), each.source)
        for each in verdicts
    ]
    frame.models = pd.DataFrame(models, columns=["model", "applies", "kind", "why", "source"])
    return frame


def _values(row: Row) -> tuple[Any, ...]:
    verdict, prediction, comparison = row.verdict, row.prediction, row.comparison
    return (
        verdict.model,
        prediction.label,
        prediction.figure,
        UNITS[prediction.figure.partition(".")[0]],
        comparison.predicted,
        comparison.measured,
        comparison.difference,
        comparison.half_width,
        comparison.half_widths,
        str(verdict.kind),
        _said(verdict.holds),
        _said(verdict.violated),
        "" if comparison.note is None else str(comparison.note),
        verdict.source,
    )


def _said(assumptions: Sequence[Any]) -> str:
    return "; ".join(map(str, assumptions))


# -- Views

HEAD = ("figure", "predicted", "measured", "off", "in half widths")
NONE = "No model of queueing theory applies to this run."


def ruled_out(models: pd.DataFrame) -> list[tuple[str, str]]:
    """The models that do not apply, those with the same reason together, and the reason."""
    found: dict[str, list[str]] = {}
    for model, why in models[~models["applies"].astype(bool)][["model", "why"]].itertuples(index=False):
        found.setdefault(why, []).append(model)
    return [(", ".join(names), why) for why, names in found.items()]


def _by_model(frame: pd.DataFrame) -> list[tuple[str, str, list[str], list[dict[str, Any]]]]:
    """By model: its name, its kind, what holds and what does not, and its rows."""
    found = []
    for model, rows in frame.groupby("model", sort=False):
        first = rows.iloc[0]
        notes = [first["holds"], f"violated: {first['violated']}" if first["violated"] else ""]
        notes += list(dict.fromkeys(rows["note"]))
        records = [{str(name): value for name, value in row.items()} for row in rows.to_dict(orient="records")]
        found.append((str(model), str(first["kind"]), [note for note in notes if note], records))
    return found


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    figure = row["figure"] if row["jobs"] == "all" else f"{row['figure']}, {row['jobs']}"
    off = "" if math.isnan(row["difference"]) else f"{row['difference']:+.1%}"
    widths = "" if math.isnan(row["half_widths"]) else f"{row['half_widths']:+.2f}"
    values = (measured(row[name], row["unit"]) for name in ("predicted", "measured"))
    return (figure, *values, off, widths)


WIDTH = 100
"""Characters of a line of text, unless a name needs more."""


def lines(frame: TheoryFrame, width: int = WIDTH) -> list[str]:
    """The comparison as text: a table for each model, and why the others do not apply."""
    parts = _by_model(frame)
    cells = [[_cells(row) for row in rows] for *_, rows in parts]
    table = [HEAD, *(row for rows in cells for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    written = [] if parts else [NONE]
    for (model, kind, notes, _), rows in zip(parts, cells, strict=True):
        written += [f"{model} ({kind})", *(line for note in notes for line in _wrapped(note, width))]
        written += [_line(row, widths) for row in (HEAD, *rows)]
        written.append("")
    others = ruled_out(frame.models)
    written += ["does not apply:"] if others else []
    written += [line for names, why in others for line in _wrapped(f"{names}: {why}", width)]
    return [shown(line) for line in written]


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(width, 40) - 4, break_long_words=False, break_on_hyphens=False)
    return [f"{'    ' if number else '  '}{line}" for number, line in enumerate(lines)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = row
    padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    return f"  {'  '.join(padded)}".rstrip()
