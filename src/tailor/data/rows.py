"""Rows of whatever people have, in one form: what every reader gives and every check and fix takes.

A source is opened once and read as often as needed; each reading streams from the start. A row is in
OpenAI's form whatever its file was: a table, Alpaca, ShareGPT, Parquet. Rows that were in OpenAI's form
already come as they stand, so that the checks see what the file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from tailor.data.examples import JsonObject
from tailor.data.problems import Problem


class Form(StrEnum):
    """What the rows of a source are."""

    CHAT = "chat"
    """`messages`, perhaps `tools`: conversations that end with the wanted answer."""

    PREFERENCE = "preference"
    """`input`, `preferred_output`, `non_preferred_output`."""

    REINFORCEMENT = "reinforcement"
    """`messages` that end with a question, and fields for a grader."""

    COMPLETION = "completion"
    """`prompt` and `completion`."""

    TEXT = "text"
    """`text` alone."""

    TABLE = "table"
    """Columns of any name, as they stand; only where it is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row, in OpenAI's form."""

    line: int
    """Where it begins in its file, counted from 1: the line; in Excel, Parquet and Arrow the row."""

    file: str
    """For people: the file's name, with the member of an archive or a folder (`mails.zip: a.csv`)."""

    value: JsonObject
    """`{"messages": ...}`, or what else the form says. Safe to store: strict JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapping:
    """Which columns become what.

    A column may be a path into nested values: `data.text` (the texts of a list are joined), `sql.0` (the
    first), `choices[gold]` (the one that the column `gold` counts to, from 0).
    """

    messages: str | None = None
    """The column with all turns of a conversation."""

    input: tuple[str, ...] = ()
    """Columns of the question; several are joined by a blank line, empty ones left out."""

    output: str | None = None
    """The column of the answer. What is not text there becomes JSON."""

    system: str | None = None
    """A system message for every row that has none: its text, not a column."""

    system_column: str | None = None
    """The column with each row's own system message."""

    tools: str | None = None
    """The column with the tools on offer, as OpenAI writes them."""

    preferred: str | None = None
    """The column of the better answer of a pair."""

    rejected: str | None = None
    """The column of the worse answer of a pair."""

    text: str | None = None
    """The column of plain text."""

    keep: tuple[str, ...] = ()
    """Columns that go along for a grader (reinforcement)."""

    each: str | None = None
    """A path to a list: every item of it becomes a row of its own, with the other columns beside it."""

    labels: tuple[tuple[str, str], ...] = ()
    """Answers to rename, such as ("0", "ham"), ("1", "spam")."""

    left_out: tuple[str, ...] = ()
    """Columns that nothing is made of."""

    how: str = "given"
    """How it was found, for people: `given`, `OpenAI chat`, `Alpaca`, `guessed from the column names`."""

    def __str__(self) -> str:
        pairs = {
            "messages": self.messages,
            "system": self.system_column or (f'"{self.system}"' if self.system else None),
            "question": " + ".join(self.input),
            "answer": self.output,
            "preferred": self.preferred,
            "rejected": self.rejected,
            "text": self.text,
            "tools": self.tools,
            "for the grader": ", ".join(self.keep),
            "one row for each of": self.each,
            "labels": ", ".join(f"{value}={name}" for value, name in self.labels),
            "left out": ", ".join(self.left_out),
        }
        return "; ".join(f"{name}: {value}" for name, value in pairs.items() if value)


class Source(Protocol):
    """Something to read rows from, as often as needed."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def form(self) -> Form:
        """Of its rows."""

    @property
    def mapping(self) -> Mapping:
        """The columns used, and how they were found."""

    @property
    def split(self) -> str | None:
        """The split that is read, where there are several; None where there are none."""

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits there are: pass one as `split` to `open_source`."""

    @property
    def num_bytes(self) -> int:
        """Bytes that one reading takes from the disk."""

    @property
    def position(self) -> int:
        """How many of them the latest reading has taken so far: for progress bars."""

    def rows(self) -> Iterator[Row | Problem]:
        """Stream from the start, in flat memory, each row or what is wrong with it.

        A blocking problem stands for a line that gave no row; advice comes beside rows.
        """


def open_source(
    path: Path,
    *,
    mapping: Mapping | None = None,
    form: Form | None = None,
    split: str | None = None,
    encoding: str | None = None,
) -> Source:
    """A file, folder, archive or `hf:owner/name`, ready to be read.

    Looks at the first rows to find out what they are. `mapping` overrides what would be guessed, field by
    field; `form` asks for another form than the file's own where one can be made from the other.

    Raises:
        InvalidRequest: It cannot be read, or what its columns are cannot be told: one sentence says which
            mapping to give.
    """
    from tailor.data.sources import open_path  # the readers load only when something is read

    return open_path(path, mapping=mapping or Mapping(), form=form, split=split, encoding=encoding)
