"""Columns that grow on disk and are read like arrays, so that a table may be longer than memory is large."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final, overload

import numpy as np

Columns = np.ndarray[Any, np.dtype[Any]]
"""A NumPy array."""

_BYTES_IN_MEMORY: Final = 1024 * 1024
"""A column goes to disk when it is longer."""

_PARTS_FROM: Final = 1 << 17
_PART_BITS: Final = 5


class Growing:
    """A column that rows are added to; long ones lie in a file that is nobody's."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._parts: list[Columns] = []
        self._num_bytes = 0
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None

    def extend(self, rows: Columns) -> None:
        """Add rows at the end."""
        self._num_bytes += rows.nbytes
        if self._file is None:
            self._parts.append(rows)
            if self._num_bytes <= _BYTES_IN_MEMORY:
                return
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the column
            rows, self._parts = np.concatenate(self._parts), []
        self._file.write(rows.tobytes())

    def column(self) -> Columns:
        """All rows so far. Of a column on disk only those that are looked at come into memory."""
        if self._file is None:
            self._parts = [np.concatenate(self._parts)] if self._parts else [np.empty(0, self._dtype)]
            return self._parts[0]
        self._file.flush()
        self._map = mmap.mmap(self._file.fileno(), self._num_bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(self._map, dtype=self._dtype)

    def release(self) -> None:
        """Give up the memory of what has been looked at; it is read from disk when it is wanted again."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class OneByOne(Sequence[Columns]):
    """Several columns of one table, of which only the one that is asked for is in memory."""

    def __init__(self, columns: Sequence[Growing]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, place: int) -> Columns: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Columns]: ...
    def __getitem__(self, place: int | slice) -> Columns | Sequence[Columns]:
        if isinstance(place, slice):
            return OneByOne(self._columns[place])
        growing = self._columns[place]
        column = np.array(growing.column())
        growing.release()
        return column


def first_of(column: Columns) -> Columns:
    """For each row the place of the first row with the same value."""
    found = np.arange(len(column), dtype=np.int32 if len(column) < 1 << 31 else np.int64)
    for part in _parts(column):
        _, first, inverse = np.unique(column[part], return_index=True, return_inverse=True)
        found[part] = found[part][first[inverse]]
    return found


def places_of_shared(column: Columns) -> Columns:
    """The places, in order, whose value stands in another row too; 0 is no value."""
    found = []
    for part in _parts(column):
        values = column[part]
        order = np.argsort(values, kind="stable")
        values = values[order]
        same = (values[1:] == values[:-1]) & (values[1:] != 0)
        is_shared = np.zeros(len(values), dtype=np.bool_)
        is_shared[1:] |= same
        is_shared[:-1] |= same
        found.append(part[order[is_shared]])
    return np.sort(np.concatenate(found))


def _parts(column: Columns) -> Iterator[Columns]:
    """Places such that equal values are in one part: what is sorted at once stays small."""
    if len(column) < _PARTS_FROM:
        yield np.arange(len(column))
        return
    with np.errstate(over="ignore"):
        mixed = column.astype(np.uint32) * np.uint32(0x9E3779B1)
    number = (mixed >> np.uint32(32 - _PART_BITS)).astype(np.uint8)
    del mixed
    for part in range(1 << _PART_BITS):
        yield np.flatnonzero(number == part)
