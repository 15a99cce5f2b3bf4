"""JSON documents that hold many rows, read without ever holding more than one of them; and XML ones.

A document is a list of rows, or an object with lists of rows in it (`{"data": [...]}`, or one list to a
split), or one row. Or it is a table written column by column (`{"question": [...], "answer": [...]}`, as data
frames are): the one form that has to be held whole. The text of every row goes through the same strict parser
as a line of JSONL.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final
from xml.etree import ElementTree

from tailor.data._notes import kind_of
from tailor.data.examples import JsonObject
from tailor.data.problems import Problem
from tailor.data.sources.delimited import Record
from tailor.protocol.strict import MAX_LINE_BYTES, StrictJsonError, parse_strict

_CHUNK: Final = 1 << 18
_SPACE: Final = re.compile(r"[ \t\r\n\ufeff]*")
_DECODER: Final = json.JSONDecoder()
_WHOLE_ROW: Final = frozenset(
    {"messages", "conversations", "prompt", "preferred_output", "chosen", "instruction"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonDocument:
    """Where the rows of a document are."""

    lists: tuple[str, ...] = ()
    """The members of the outermost object that are lists of rows; empty where the document is the list."""

    columns: tuple[str, ...] = ()
    """The members that are columns of one table, a cell to a row."""

    is_one_row: bool = False
    """Whether the outermost object is itself the only row."""

    def records(self, text: io.TextIOBase, member: str | None = None) -> Iterator[Record | Problem]:
        """Every row with the line it starts in; ends with a problem where the text stops being JSON."""
        reader = _Reader(text)
        try:
            if self.is_one_row:
                yield _row(*reader.value())
            elif self.columns:
                yield from _rows_of_columns(reader, self.columns)
            elif not self.lists:
                yield from _rows_of_list(reader)
            else:
                for name in reader.members():
                    if name == (member or self.lists[0]):
                        yield from _rows_of_list(reader)
                    else:
                        reader.skip()
            reader.end()
        except _NotJson as error:
            yield Problem(
                line=error.line,
                code="json_invalid",
                message=f"not valid JSON: {error.reason}; nothing after it was read.",
                remedy="Write it with a JSON library, not by hand.",
            )


def outline(text: io.TextIOBase) -> JsonDocument:
    """Where the rows are, from one pass over the text; of broken JSON what can be seen before the break."""
    reader = _Reader(text)
    lists: list[str] = []
    lengths: dict[str, int] = {}
    try:
        if reader.peek() != "{":
            return JsonDocument()
        for name in reader.members():
            if name == "messages" or (name in _WHOLE_ROW and reader.peek() not in "[{"):
                return JsonDocument(is_one_row=True)
            if reader.peek() == "[":
                lists.append(name)
            length = _cells(reader)
            if length is not None:
                lengths[name] = length
    except _NotJson:
        pass
    if len(lengths) > 1 and len(set(lengths.values())) == 1:
        return JsonDocument(columns=tuple(lengths))
    if any(name in _WHOLE_ROW for name in lists):
        return JsonDocument(is_one_row=True)
    return JsonDocument(lists=tuple(lists), is_one_row=not lists)


def _cells(reader: _Reader) -> int | None:
    """Pass over a value: how many cells it has if it is a column, else None.

    A column is a list of texts or figures, or an object of them that is numbered from 0.
    """
    opening = reader.peek()
    if opening not in ("[", "{"):
        reader.value()
        return None
    count, is_column = 0, True
    names: Iterator[str | None] = reader.items() if opening == "[" else reader.members()
    for name in names:
        is_column &= reader.peek() not in "[{" and name in (None, str(count))
        reader.value()
        count += 1
    return count if is_column and count else None


def xml_record(stream: BinaryIO) -> Record | Problem:
    """An XML file as one row: elements by name, repeated ones as a list, attributes with an `@`."""
    data = stream.read(16 * MAX_LINE_BYTES)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return Problem(
            line=1, code="xml_doctype", message="the XML has a DOCTYPE.", remedy="Save it without one."
        )
    try:
        root = ElementTree.fromstring(data)  # noqa: S314
    except ElementTree.ParseError as error:
        line = error.position[0]
        return Problem(line=line, code="xml_invalid", message=f"not valid XML: {error}.", remedy="Mend it.")
    value = _of_element(root)
    return 1, value if isinstance(value, dict) else {root.tag: value}


def _of_element(element: ElementTree.Element) -> Any:
    value: JsonObject = {f"@{name}": text for name, text in element.attrib.items()}
    for child in element:
        name = child.tag.rpartition("}")[2]
        known = value.get(name)
        found = _of_element(child)
        if known is None:
            value[name] = found
        else:
            value[name] = [*known, found] if isinstance(known, list) else [known, found]
    text = (element.text or "").strip()
    if not value:
        return text
    return value | {"#text": text} if text else value


class _NotJson(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class _Reader:
    """Walks through a JSON text, one value at a time."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._buffer = ""
        self._at = 0
        self._is_over = False
        self._line = 1

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self._pass(_SPACE.match(self._buffer, self._at).end())  # type: ignore[union-attr]
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def value(self) -> tuple[int, str]:
        """The next value: the line it starts in, and its text."""
        if not self.peek():
            raise _NotJson(self._line, "the text ends where a value should be")
        line = self._line
        while True:
            try:
                _, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error) and self._more():
                    continue
                before = self._buffer.count("\n", self._at, error.pos)
                raise _NotJson(self._line + before, error.msg) from None
            except RecursionError:
                raise _NotJson(line, "lists and objects are nested too deep") from None
            if end == len(self._buffer) and self._buffer[end - 1] not in '"]}' and self._more():
                continue  # a number may go on
            text = self._buffer[self._at : end]
            self._pass(end)
            return line, text

    def items(self) -> Iterator[str | None]:
        """Stops before each item of a list; the caller takes it."""
        self._take("[")
        while self.peek() != "]":
            yield None
            if self.peek() != "]":
                self._take(",")
        self._take("]")

    def members(self) -> Iterator[str]:
        """Stops before the value of each member of an object; the caller takes it."""
        self._take("{")
        while self.peek() != "}":
            line, key = self.value()
            if not key.startswith('"'):
                raise _NotJson(line, "a key must be text in double quotes")
            self._take(":")
            yield json.loads(key)
            if self.peek() != "}":
                self._take(",")
        self._take("}")

    def skip(self) -> None:
        """Pass over the next value; of a list only one item is held at a time."""
        if self.peek() == "[":
            for _ in self.items():
                self.value()
        else:
            self.value()

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise _NotJson(self._line, "there is more after the end of the document")

    def _take(self, wanted: str) -> None:
        found = self.peek()
        if found != wanted:
            raise _NotJson(self._line, f"expected {wanted!r} and found {found or 'the end'!r}")
        self._pass(self._at + 1)

    def _pass(self, end: int) -> None:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        """Read on. What lies behind is let go; the chunk grows with a value that does not fit."""
        waiting = len(self._buffer) - self._at
        if self._is_over or waiting > 16 * MAX_LINE_BYTES:
            return False
        chunk = self._text.read(max(_CHUNK, waiting))
        self._is_over = not chunk
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        # Escapes, literals and numbers that are cut are noticed a few characters before the end.
        return error.msg.startswith("Unterminated") or error.pos >= len(self._buffer) - 12


def _rows_of_list(reader: _Reader) -> Iterator[Record | Problem]:
    for _ in reader.items():
        yield _row(*reader.value())


def _rows_of_columns(reader: _Reader, names: tuple[str, ...]) -> Iterator[Record | Problem]:
    columns: dict[str, list[tuple[int, str]]] = {}
    for name in reader.members():
        if name in names:
            cells: Iterator[str | None] = reader.items() if reader.peek() == "[" else reader.members()
            columns[name] = [reader.value() for _ in cells]
        else:
            reader.value()
    keys = [json.dumps(name) for name in columns]
    for row in zip(*columns.values(), strict=True):
        members = ",".join(f"{key}:{text}" for key, (_, text) in zip(keys, row, strict=True))
        yield _row(row[0][0], f"{{{members}}}")


def _row(line: int, text: str) -> Record | Problem:
    try:
        value = parse_strict(text.encode("utf-8", "surrogateescape"))
    except StrictJsonError as error:
        message = f"{error.message}."
        return Problem(
            line=line, code=str(error.code), field=error.pointer, message=message, remedy=error.remedy or ""
        )
    if isinstance(value, list):
        return line, {f"column{number}": item for number, item in enumerate(value, start=1)}
    if isinstance(value, str):
        return line, {"text": value}
    if isinstance(value, dict):
        return line, value
    return Problem(
        line=line,
        code="not_an_object",
        message=f"the row is {kind_of(value)}, not an object or a list.",
        remedy="Every row must be an object with named values, or a list of cells.",
    )
