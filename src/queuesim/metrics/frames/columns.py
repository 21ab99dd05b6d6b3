"""Columns: the pieces that every frame is made of, small in memory and without a loop over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]


def labels(codes: Array, table: Sequence[str], missing: str | None = None) -> pd.Categorical:
    """A categorical from pointers into a table of names, which may name a thing twice.

    A code of -1 and a name equal to `missing` have no label (NaN). Codes take one byte a row up to 127 names.
    """
    names = [name for name in dict.fromkeys(table) if name != missing]
    place = {name: code for code, name in enumerate(names)}
    small = np.int8 if len(names) <= 127 else np.int32
    lookup: npt.NDArray[np.integer[Any]] = np.array([*(place.get(name, -1) for name in table), -1], dtype=small)
    return pd.Categorical.from_codes(lookup[codes], categories=categories(names))


def categories(names: Sequence[str]) -> pd.Index:
    """Category labels with one dtype, whether there are any or not."""
    return pd.Index(list(names), dtype=str)


def known_labels(values: Sequence[str], known: Sequence[str] = ()) -> pd.Categorical:
    """A categorical of the labels that are known and those that occur beside them."""
    table = list(dict.fromkeys((*known, *values)))
    return labels(np.array([table.index(value) for value in values], dtype=np.intp), table)


def seconds(rows: Array, name: str) -> npt.NDArray[np.float64]:
    """A column of packed rows as an array of its own."""
    return np.ascontiguousarray(rows[name], dtype=np.float64)


def frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A frame that takes the columns over without copying them."""
    return pd.DataFrame(dict(columns), copy=False)
