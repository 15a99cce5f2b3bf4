from __future__ import annotations

import numpy as np
import pytest

from tailor.data.doctor import columns
from tailor.data.doctor.columns import Growing, first_of, places_of_shared


@pytest.mark.parametrize("num_bytes_in_memory", [1 << 20, 64])
def test_a_column_reads_back_what_was_added_in_memory_and_on_disk(
    num_bytes_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_BYTES_IN_MEMORY", num_bytes_in_memory)
    growing = Growing(np.dtype(np.uint32))
    assert len(growing.column()) == 0
    blocks = [np.arange(start, start + 7, dtype=np.uint32) for start in range(0, 70, 7)]
    for block in blocks:
        growing.extend(block)
    assert (growing.column() == np.arange(70)).all()
    growing.release()
    assert (growing.column() == np.arange(70)).all()


@pytest.mark.parametrize("parts_from", [1 << 17, 10])
def test_equal_values_are_found_in_one_piece_and_in_parts(
    parts_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_PARTS_FROM", parts_from)
    column = np.random.default_rng(3).integers(0, 400, 1_000).astype(np.uint64) << np.uint64(20)
    values = column.tolist()
    assert first_of(column).tolist() == [values.index(value) for value in values]
    shared = [place for place, value in enumerate(values) if value and values.count(value) > 1]
    assert places_of_shared(column).tolist() == shared
