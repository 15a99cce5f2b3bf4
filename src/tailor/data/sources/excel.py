"""Excel workbooks, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from tailor.data.problems import Problem
from tailor.data.sources.columnar import checked, plain
from tailor.data.sources.delimited import Record
from tailor.data.sources.extras import needed
from tailor.data.sources.streams import seekable


def sheet_names(stream: BinaryIO) -> tuple[str, ...]:
    """The sheets that hold something, in order."""
    with _workbook(stream) as book:
        return tuple(
            sheet.title
            for sheet in book.worksheets
            if any(any(cell is not None for cell in row) for row in sheet.iter_rows(values_only=True))
        )


def excel_records(stream: BinaryIO, sheet: str | None = None) -> Iterator[Record | Problem]:
    """Every row below the header with its row number; the first sheet unless one is named."""
    with _workbook(stream) as book:
        rows = enumerate((book[sheet] if sheet else book.worksheets[0]).iter_rows(values_only=True), start=1)
        names: list[str] | None = None
        for number, cells in rows:
            values = [plain(cell) for cell in cells]
            if all(value in (None, "") for value in values):
                continue
            if names is None:
                names = [str(value).strip() if value else f"column{n}" for n, value in enumerate(values, 1)]
                continue
            row = zip(names, values, strict=False)
            yield checked(number, {name: _whole(value) for name, value in row})


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # Excel has no whole numbers: the label 3 is stored as 3.0
    return value


@contextmanager
def _workbook(stream: BinaryIO) -> Iterator[Any]:
    with seekable(stream) as file:
        book = needed("openpyxl").load_workbook(file, read_only=True, data_only=True)
        try:
            yield book
        finally:
            book.close()
