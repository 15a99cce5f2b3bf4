"""What kind of file it is, by its content first and its name second, and how its records are read."""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final
from zipfile import BadZipFile

from tailor.data.problems import Findings, Problem
from tailor.data.reading import Rows
from tailor.data.sources.columnar import arrow_records, parquet_records
from tailor.data.sources.containers import Container, read_some, suffix_of
from tailor.data.sources.delimited import Delimited, LabelledLines, PlainLines, Record, sniff
from tailor.data.sources.documents import JsonDocument, outline, xml_record
from tailor.data.sources.encodings import SAMPLE_BYTES, Encoding, encoding_of
from tailor.data.sources.excel import excel_records, sheet_names
from tailor.data.sources.streams import DAMAGE, Meter
from tailor.errors import InvalidRequest

_FOREIGN: Final = (
    (b"\xd0\xcf\x11\xe0", "an office document of before 2007", "Save it as .xlsx or .csv."),
    (b"SQLite format 3", "a SQLite database", "Export the table you want as CSV."),
    (b"%PDF", "a PDF", "Export its text, one example to a row, as CSV or JSON Lines."),
    (b"\x89PNG", "an image", "Only text can be learned here."),
    (b"\xff\xd8\xff", "an image", "Only text can be learned here."),
    (b"\x80\x02", "a pickle, which can run code when it is read", "Save it as Parquet or JSON Lines."),
    (b"\x80\x04", "a pickle, which can run code when it is read", "Save it as Parquet or JSON Lines."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
)
_JSONL: Final = (".jsonl", ".ndjson")
_CONTROLS: Final = bytes(set(range(32)) - {9, 10, 12, 13, 27})


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How the records of one file are read."""

    noun: str
    """For people: `CSV`, `JSON Lines`."""

    records: Callable[[BinaryIO, str | None], Iterator[Record | Problem]]
    """The records of a stream; of one part of it, where there are several."""

    parts: tuple[str, ...] = ()
    """Lists in a JSON document, sheets of a workbook."""

    advice: Problem | None = None
    """About its encoding."""

    is_plain_text: bool = False
    """Whether it is text without any columns."""

    is_jsonl: bool = False
    """Whether it is JSON Lines, what an upload must be."""


def format_of(container: Container, name: str, encoding: str | None = None) -> Format:
    """What one file is.

    Raises:
        InvalidRequest: Nothing that rows can be read from.
    """
    sample = read_some(container, name, SAMPLE_BYTES)
    for magic, noun, remedy in _FOREIGN:
        if sample.startswith(magic):
            raise InvalidRequest(f"{name} is {noun}.", remedy=remedy)
    if sample.startswith(b"PAR1"):
        return Format(noun="Parquet", records=lambda stream, _: parquet_records(stream))
    if sample.startswith((b"ARROW1", b"\xff\xff\xff\xff")) and suffix_of(name) in (".arrow", ".feather"):
        return Format(noun="Arrow", records=lambda stream, _: arrow_records(stream))
    if sample.startswith(b"PK\x03\x04"):
        return _excel(container, name)
    found = encoding_of(sample, encoding)
    if not found.name.startswith("utf-16") and _is_binary(sample):
        raise InvalidRequest(
            f"{name} is not text, and no format that is known here.", remedy="Save it as CSV or JSON Lines."
        )
    return _text_format(container, name, found, sample)


def _excel(container: Container, name: str) -> Format:
    if suffix_of(name) not in (".xlsx", ".xlsm"):
        raise InvalidRequest(
            f"{name} is a ZIP archive that is damaged, or lies inside another.", remedy="Unpack it first."
        )
    for _, stream in container.streams({name}, Meter()):
        try:
            return Format(noun="Excel", records=excel_records, parts=sheet_names(stream))
        except (BadZipFile, KeyError, ValueError, *DAMAGE) as error:
            raise InvalidRequest(f"{name} is a damaged workbook.", remedy="Save it again.") from error
    raise InvalidRequest(f"{name} is not there any more.")


def _text_format(container: Container, name: str, encoding: Encoding, sample: bytes) -> Format:
    text = encoding.decode(sample)
    is_whole = len(sample) < SAMPLE_BYTES
    suffix = suffix_of(name)
    start = text.lstrip("\ufeff \t\r\n")[:1]
    advice = encoding.advice
    if start == "<" and suffix in (".xml", ""):
        return Format(noun="XML", records=lambda stream, _: iter([xml_record(stream)]), advice=advice)
    if (suffix in _JSONL or start == "{") and (not start or _is_jsonl(text, suffix)):
        return _jsonl(encoding)
    if start == "[" or (start == "{" and suffix in (".json", "")):
        document = _outline(container, name, encoding)
        return Format(
            noun="JSON",
            records=lambda stream, part: document.records(encoding.text(stream), part),
            parts=document.lists,
            advice=advice,
        )
    table = sniff(
        text.removeprefix("\ufeff"), suffix=".tsv" if suffix == ".tab" else suffix, is_whole=is_whole
    )
    return Format(
        noun=table.noun,
        records=functools.partial(_table_records, table, encoding),
        advice=advice,
        is_plain_text=isinstance(table, PlainLines),
    )


def _table_records(
    table: Delimited | LabelledLines | PlainLines, encoding: Encoding, stream: BinaryIO, _: str | None
) -> Iterator[Record | Problem]:
    return table.records(encoding.text(stream))


def _outline(container: Container, name: str, encoding: Encoding) -> JsonDocument:
    for _, stream in container.streams({name}, Meter()):
        with suppress(*DAMAGE):
            return outline(encoding.text(stream))
    return JsonDocument()


def _jsonl(encoding: Encoding) -> Format:
    def records(stream: BinaryIO, _: str | None) -> Iterator[Record | Problem]:
        passing = _Passing()
        for record in Rows(encoding.as_utf8(stream), passing):
            yield from passing.taken()
            yield record
        yield from passing.taken()

    return Format(noun="JSON Lines", records=records, advice=encoding.advice, is_jsonl=True)


class _Passing(Findings):
    """Hands problems on in the order of the lines, instead of collecting them."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Problem] = deque()

    def add(self, problem: Problem, *, lines: Iterable[int] = ()) -> None:
        self._waiting.append(problem)

    def taken(self) -> Iterator[Problem]:
        """Those that were found since the last row."""
        while self._waiting:
            yield self._waiting.popleft()


def _is_jsonl(text: str, suffix: str) -> bool:
    """Whether the rows stand one to a line. One list or object alone is a document, whatever its name."""
    first, *more = (line for line in text.split("\n") if line.strip("\ufeff \t\r"))
    try:
        value = json.loads(first.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return suffix in _JSONL and first.lstrip("\ufeff \t")[0] != "["
    if suffix in _JSONL:
        return bool(more) or not isinstance(value, list)
    return isinstance(value, dict) and bool(more)


def _is_binary(sample: bytes) -> bool:
    return len(sample) - len(sample.translate(None, _CONTROLS)) > max(8, len(sample) // 50)
