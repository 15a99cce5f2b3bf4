"""Comma, tab and semicolon separated values, and lines like `IN: walk OUT: I_WALK`: tables in plain text."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from tailor.data.examples import JsonObject
from tailor.data.problems import Problem
from tailor.data.sources.encodings import broken_text
from tailor.protocol.strict import MAX_LINE_BYTES

Record = tuple[int, JsonObject]
"""A line, and what stands there under the names of its columns."""

_MAX_NAME: Final = 64
_SNIFFED_ROWS: Final = 200
_LABELLED: Final = re.compile(r"\s*([A-Za-z]\w{0,20}):[ \t]*(\S.*?)[ \t]+([A-Za-z]\w{0,20}):[ \t]*\S")


class Quotes(Enum):
    """What double quotes do in a table."""

    NOTHING = "nothing"
    """A quote is a character like any other."""

    ENCLOSE = "enclose"
    """Cells may stand in them."""

    ENCLOSE_AFTER_SPACE = "enclose after space"
    """Cells may stand in them, with a space before, which is no part of the cell: `a, "b, c"`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delimited:
    """How one table is written."""

    delimiter: str
    """Between two cells."""

    quotes: Quotes
    """What double quotes do."""

    columns: tuple[str, ...]
    """The names in the first row, or `column1`, `column2`, ..."""

    has_header: bool
    """Whether the first row holds the names."""

    @property
    def noun(self) -> str:
        """For people."""
        return {",": "CSV", "\t": "TSV"}.get(self.delimiter, f"a table with {self.delimiter!r} between cells")

    def records(self, text: io.TextIOBase) -> Iterator[Record | Problem]:
        """Every row with the line it starts in; several lines in quotes are one row."""
        rows = _rows(text, self.delimiter, self.quotes)
        if self.has_header:
            next(rows, None)
        for line, cells in rows:
            if isinstance(cells, str):
                yield _crooked_quotes(line, cells)
            elif any(cells):
                yield self._record(line, cells)

    def _record(self, line: int, cells: Sequence[str]) -> Record | Problem:
        if len(cells) != len(self.columns):
            return Problem(
                line=line,
                code="wrong_number_of_columns",
                message=f"there are {len(cells)} cells, and the table has {len(self.columns)} columns.",
                remedy="Put cells that hold the separator or a line break in double quotes."
                if self.quotes is not Quotes.NOTHING
                else "A cell must not hold the separator.",
            )
        for name, cell in zip(self.columns, cells, strict=True):
            if (broken := broken_text(line, cell, name)) is not None:
                return broken
        return line, dict(zip(self.columns, cells, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledLines:
    """Lines that all name the same two parts, such as `IN: walk twice OUT: WALK WALK`."""

    columns: tuple[str, str]
    noun: str = "labelled lines"

    def records(self, text: io.TextIOBase) -> Iterator[Record | Problem]:
        """One record to a line."""
        pattern = _labelled_by(*self.columns)
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            found = pattern.fullmatch(line.rstrip("\r\n"))
            if found is None:
                yield Problem(
                    line=number,
                    code="unlike_the_others",
                    message=f"the line does not read `{self.columns[0]}: ... {self.columns[1]}: ...`.",
                    remedy="Write it like the others, or remove it.",
                )
                continue
            cells = (found[1].strip(), found[2].strip())
            broken = [broken_text(number, cell, name) for name, cell in zip(self.columns, cells, strict=True)]
            yield next(filter(None, broken), None) or (number, dict(zip(self.columns, cells, strict=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainLines:
    """Text without columns: every line that is not blank is a row with the one column `text`."""

    columns: tuple[str, ...] = ("text",)
    noun: str = "plain text"

    def records(self, text: io.TextIOBase) -> Iterator[Record | Problem]:
        """One record to a line."""
        for number, line in enumerate(text, start=1):
            stripped = line.rstrip("\r\n")
            if stripped.strip():
                yield broken_text(number, stripped, None) or (number, {"text": stripped})


def _crooked_quotes(line: int, error: str) -> Problem:
    if "unexpected end" in error or "field larger" in error:
        return Problem(
            line=line,
            code="quote_not_closed",
            message="a cell opens with a double quote that is never closed; nothing after it was read.",
            remedy='Close the cell, and write a double quote inside one as "".',
        )
    return Problem(
        line=line,
        code="quote_inside_cell",
        message="a double quote stands inside a cell in double quotes.",
        remedy='Write a double quote inside such a cell as "".',
    )


def sniff(sample: str, *, suffix: str, is_whole: bool) -> Delimited | LabelledLines | PlainLines:
    """How a text is written, from its beginning.

    Args:
        sample: The first characters.
        suffix: Of its file: `.csv` or `.tsv` make it a table even of one column.
        is_whole: Whether the sample is the whole text; if not, its last line is not looked at.
    """
    if not is_whole:
        sample = sample[: sample.rfind("\n") + 1]
    preferred = {".csv": ",;\t|", ".tsv": "\t,;|"}.get(suffix, "\t|")
    best = max((_measure(sample, delimiter) for delimiter in preferred), key=lambda found: found[0])
    share, delimiter, quotes, rows = best
    if share >= 0.9 and rows and len(rows[0]) > 1:
        return _table(delimiter, quotes, rows)
    if suffix in (".csv", ".tsv"):
        # A table that does not line up is still a table: its crooked rows are reported one by one.
        return _table(preferred[0], Quotes.ENCLOSE, rows) if share >= 0.5 and rows else _one_column(sample)
    return _labelled(sample) or PlainLines()


def _measure(sample: str, delimiter: str) -> tuple[float, str, Quotes, list[list[str]]]:
    """How well a delimiter explains the sample: the share of rows as wide as the first."""
    quotes = _quotes_in(sample, delimiter)
    rows = _first(sample, delimiter, quotes)
    if not rows or len(rows[0]) < 2:
        return 0.0, delimiter, quotes, rows
    return sum(len(cells) == len(rows[0]) for cells in rows) / len(rows), delimiter, quotes, rows


def _quotes_in(sample: str, delimiter: str) -> Quotes:
    """What quotes do: in comma separated text they enclose cells; between tabs only if it shows."""
    if '"' not in sample:
        return Quotes.ENCLOSE if delimiter != "\t" else Quotes.NOTHING
    if delimiter != "\t":
        spaced = re.search(rf'{re.escape(delimiter)} +"(?!")', sample)
        return Quotes.ENCLOSE_AFTER_SPACE if spaced else Quotes.ENCLOSE
    try:
        rows = list(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return Quotes.NOTHING
    needs_them = any(mark in cell for cells in rows for cell in cells for mark in '\t\n"')
    first = sample.partition("\n")[0].strip("\r").split(delimiter)
    has_them = all(cell.startswith('"') and cell.endswith('"') for cell in first)
    return Quotes.ENCLOSE if needs_them or has_them else Quotes.NOTHING


def _rows(text: io.TextIOBase, delimiter: str, quotes: Quotes) -> Iterator[tuple[int, list[str] | str]]:
    """The cells of each row with the line it starts in, or what is wrong with its quotes."""
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(
        text,
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if quotes is Quotes.NOTHING else csv.QUOTE_MINIMAL,
        strict=quotes is not Quotes.NOTHING,
        skipinitialspace=quotes is Quotes.ENCLOSE_AFTER_SPACE,
    )
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, str(error)  # the reader goes on with the next line


def _first(text: str, delimiter: str, quotes: Quotes) -> list[list[str]]:
    """The first sound rows that are not blank."""
    rows = _rows(io.StringIO(text, newline=""), delimiter, quotes)
    sound = (cells for _, cells in rows if not isinstance(cells, str) and any(cells))
    return list(islice(sound, _SNIFFED_ROWS))


def _table(delimiter: str, quotes: Quotes, rows: list[list[str]]) -> Delimited:
    has_header = _is_header(rows)
    columns = [name.strip() for name in rows[0]]
    if not has_header:
        columns = [f"column{number}" for number in range(1, len(rows[0]) + 1)]
    return Delimited(delimiter=delimiter, quotes=quotes, columns=tuple(columns), has_header=has_header)


def _one_column(sample: str) -> Delimited:
    return _table(",", Quotes.ENCLOSE, _first(sample, ",", Quotes.ENCLOSE) or [["text"]])


def _is_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: short, distinct words that do not come again below."""
    names, below = [name.strip() for name in rows[0]], rows[1:]
    if len(set(names)) < len(names) or not all(name and len(name) <= _MAX_NAME for name in names):
        return False
    if any(_is_number(name) for name in names):
        return False
    comes_again = [
        any(row[index].strip() == name for row in below if len(row) == len(names))
        for index, name in enumerate(names)
    ]
    return not any(comes_again)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labelled(sample: str) -> LabelledLines | None:
    lines = [line for line in sample.split("\n") if line.strip()][:_SNIFFED_ROWS]
    names = Counter((found[1], found[3]) for line in lines if (found := _LABELLED.match(line)))
    if not names:
        return None
    (first, second), count = names.most_common(1)[0]
    return LabelledLines(columns=(first, second)) if first != second and count >= 0.9 * len(lines) else None


def _labelled_by(first: str, second: str) -> re.Pattern[str]:
    return re.compile(rf"\s*{re.escape(first)}:[ \t]*(.*?)[ \t]+{re.escape(second)}:[ \t]*(.*)")
