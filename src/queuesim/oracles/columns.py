"""A table whose columns are read one by one: a structured array, with each column that is used laid out on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Columns:
    """A structured array, or some rows of a table, as columns that are each contiguous in memory.

    Oracles go over one column after another, many times. In a structured array its values are a row's length apart,
    which takes three times as long. A column is laid out when it is first asked for, so that rows which are chosen
    cost only what is read of them.
    """

    def __init__(self, table: Array | Columns, rows: Any = None) -> None:
        self._table = table
        self._rows = rows
        self._columns: dict[str, Array] = {}
        self._length: int | None = None if rows is not None else len(table)

    def __len__(self) -> int:
        if self._length is None:
            self._length = len(self[self.names[0]])
        return self._length

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._table.names if isinstance(self._table, Columns) else self._table.dtype.names or ()

    @overload
    def __getitem__(self, key: str) -> Array: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: Array | slice) -> Columns: ...
    def __getitem__(self, key: Any) -> Any:
        """A column by its name; a row, as a mapping, by its position; other rows by a mask, positions or a slice."""
        if isinstance(key, str):
            found = self._columns.get(key)
            if found is None:
                column = self._table[key] if self._rows is None else self._table[key][self._rows]
                self._columns[key] = found = np.ascontiguousarray(column)
            return found
        if isinstance(key, int | np.integer):
            return {name: self[name][key] for name in self.names}
        return Columns(self, key)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, as mappings: for a few."""
        return (self[i] for i in range(len(self)))

    def having(self, **columns: Array) -> Columns:
        """The same table with other values in some columns."""
        changed = Columns(self, slice(None))
        changed._columns.update(columns)
        return changed
