"""Columns by name or by path: `text`, `data.text`, `sql.0`, `choices[gold]`."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tailor.data.examples import JsonObject

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[([^\[\]]+)\]")


def find(record: JsonObject, path: str) -> Any:
    """What stands at a path; None where there is nothing.

    Of a list, `.name` is asked of every item: texts are joined, everything else stays a list.
    """
    if path in record:
        return record[path]
    value: Any = record
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        at = step.end()
        value = _pick(record, value, step[2]) if step[2] is not None else _step(value, step[1])
    return value


def first_column(path: str) -> str:
    """The column that a path starts with."""
    step = _STEP.match(path)
    return step[1] if step is not None and step[1] else path


def as_text(value: Any) -> str:
    """A value as the text of a message: what is not text is written as JSON."""
    if value is None:
        return ""
    if isinstance(value, dict) and "#text" in value:
        return str(value["#text"])  # an XML element with attributes
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _step(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list):
        if name.isdecimal():
            return value[int(name)] if int(name) < len(value) else None
        found: list[Any] = [item.get(name) for item in value if isinstance(item, dict)]
        if found and all(isinstance(item, str) for item in found):
            return "".join(found)
        return found or None
    return None


def _pick(record: JsonObject, value: Any, column: str) -> Any:
    """The item of a list that another column counts to, or of an object that it names."""
    index = int(column) if column.isdecimal() else record.get(column)
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if isinstance(value, list) and isinstance(index, int):
        return value[index] if 0 <= index < len(value) else None
    return value.get(index) if isinstance(value, dict) and isinstance(index, str) else None
