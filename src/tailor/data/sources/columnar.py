"""Parquet and Arrow: columns with types, read a batch at a time."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any, BinaryIO, Final

from tailor.data.examples import JsonObject
from tailor.data.problems import Problem
from tailor.data.sources.delimited import Record
from tailor.data.sources.encodings import broken_text
from tailor.data.sources.extras import needed
from tailor.data.sources.streams import seekable

_BATCH_ROWS: Final = 256
_INT64: Final = range(-(2**63), 2**63)


def parquet_records(stream: BinaryIO) -> Iterator[Record | Problem]:
    """Every row of a Parquet file, counted from 1."""
    parquet = needed("pyarrow.parquet")
    with seekable(stream) as file:
        opened = _opened(parquet.ParquetFile, file)
        yield from _records(opened.schema_arrow, opened.iter_batches(batch_size=_BATCH_ROWS))


def arrow_records(stream: BinaryIO) -> Iterator[Record | Problem]:
    """Every row of an Arrow file or stream (what Hugging Face's `save_to_disk` writes), counted from 1."""
    ipc = needed("pyarrow.ipc")
    with seekable(stream) as file:
        start = file.read(6)
        file.seek(0)
        if start == b"ARROW1":
            opened = _opened(ipc.open_file, file)
            yield from _records(
                opened.schema, (opened.get_batch(index) for index in range(opened.num_record_batches))
            )
        else:
            opened = _opened(ipc.open_stream, file)
            yield from _records(opened.schema, opened)


def plain(value: Any) -> Any:
    """A cell as JSON knows it: dates as text, numbers that are not finite as nothing."""
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _records(schema: Any, batches: Any) -> Iterator[Record | Problem]:
    names = _names_of_classes(schema.metadata or {})
    number = 0
    for batch in _sound(batches):
        for row in batch.to_pylist():
            number += 1
            yield checked(number, {key: _named(plain(value), names.get(key)) for key, value in row.items()})


def checked(number: int, row: JsonObject) -> Record | Problem:
    """The row, or what is wrong with a text in it."""
    for key, value in row.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if (broken := broken_text(number, text, key)) is not None:
            return broken
    return number, row


def _opened(reader: Any, file: BinaryIO) -> Any:
    """What a reader of pyarrow opens; its word for a damaged file is ValueError, ours OSError."""
    try:
        return reader(file)
    except ValueError as error:
        raise OSError(str(error)) from error


def _sound(batches: Any) -> Iterator[Any]:
    try:
        yield from batches
    except ValueError as error:
        raise OSError(str(error)) from error


def _named(value: Any, names: list[str] | None) -> Any:
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return value


def _names_of_classes(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Hugging Face stores a label as a number, and what the numbers mean in the schema's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }
