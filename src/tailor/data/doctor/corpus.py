"""A file as the checks see it: a table of facts with one short row for each example, and its texts on disk.

Facts are small (about 200 bytes an example) and numeric, so that a check over a million examples is a few
array operations; of a long file they lie on disk, column by column. Texts are spooled to a temporary file
and fetched again by place where a check must look closely. The facts of a block depend on nothing outside
it: blocks can be made anywhere and put together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, overload

import numpy as np

from tailor.data.doctor.columns import Columns, Growing, OneByOne
from tailor.data.doctor.task import Task
from tailor.data.examples import JsonObject, Message

_SPOOL_BYTES: Final = 32 * 1024 * 1024
"""Texts kept in memory before they go to disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One example, whatever its form: what is asked, what is answered."""

    line: int
    """Where it stood, counted from 1."""

    file: str
    """The file it stood in."""

    fingerprint: str
    """Equal content, equal fingerprint."""

    prompt_key: str
    """Equal for examples that ask the same."""

    system: str | None
    """The system prompt; None where there is none."""

    asked: str
    """Everything before the answer but the system prompt."""

    question: str
    """The last thing the user says."""

    answer: str
    """What is to be learnt: text, or tool calls as JSON; the better answer of a pair."""

    rejected: str | None = None
    """The worse answer of a pair."""

    has_question: bool = True
    """Whether anybody but the assistant says anything."""

    num_answers: int = 1
    """Turns of the assistant."""

    calls_tools: bool = False
    """Whether the answer is a tool call."""

    messages: tuple[Message, ...] = ()
    """The whole conversation; empty for plain text."""

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Facts:
    """One column for each fact, one row for each example."""

    line: Columns
    """uint32."""
    file: Columns
    """uint16: a place in `Corpus.files`."""
    example: Columns
    """uint64: hash of everything."""
    prompt: Columns
    """uint64: hash of what is asked, system prompt and tools included."""
    loose: Columns
    """uint64: hash of the words and figures that are asked, case, spacing and punctuation set aside."""
    answer: Columns
    """uint64: hash of the answer."""
    label: Columns
    """uint64: hash of the answer as a label, spelling set aside."""
    system: Columns
    """uint64: hash of the system prompt; 0 where there is none."""
    has_question: Columns
    """bool: whether anybody but the assistant says anything."""
    question_chars: Columns
    """uint32."""
    answer_chars: Columns
    """uint32."""
    tokens: Columns
    """uint32: of the whole example."""
    answer_tokens: Columns
    """uint32: of its answers."""
    num_answers: Columns
    """uint8."""
    calls_tools: Columns
    """bool."""
    features: Columns
    """uint32: how the answer is written (`formats.FEATURES`)."""
    manner: Columns
    """uint8: whether the answer refuses or hedges (`refusals`)."""
    personal: Columns
    """uint16: kinds of personal data (`personal.NOUNS`, by place)."""
    tools: Columns
    """uint8: what is wrong with tool calls (`tools`)."""
    asked_language: Columns
    """bytes of 3: empty where it cannot be told."""
    answer_language: Columns
    """bytes of 3."""
    bands: Sequence[Columns]
    """uint32, a column for each band: `similar.band_keys` of what is asked."""

    def __len__(self) -> int:
        return len(self.line)


class Table:
    """Facts of block after block; of a long file they lie on disk."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Growing]] = {}

    def extend(self, block: Facts) -> None:
        """Add the facts of a block at the end."""
        for name, columns in _columns_of(block).items():
            growing = self._columns.setdefault(name, [Growing(column.dtype) for column in columns])
            for each, column in zip(growing, columns, strict=True):
                each.extend(column)

    def facts(self) -> Facts:
        """The facts of all blocks."""
        columns = dict(self._columns)
        bands = OneByOne(columns.pop("bands"))
        return Facts(**{name: growing.column() for name, (growing,) in columns.items()}, bands=bands)

    def release(self) -> None:
        """Give up the memory of what a check has looked at."""
        for growing in self._columns.values():
            for each in growing:
                each.release()


def _columns_of(facts: Facts) -> dict[str, tuple[Columns, ...]]:
    values = {each.name: getattr(facts, each.name) for each in fields(facts)}
    return {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}


class Texts(Sequence[str]):
    """Texts by place, in a file that is nobody's; small ones stay in memory."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - lives as long as the texts
            max_size=_SPOOL_BYTES
        )
        self._starts = Growing(np.dtype(np.uint64))
        self._starts_read: Columns | None = None
        self._count = 0
        self._num_bytes = 0

    def extend(self, texts: Iterable[str]) -> None:
        """Add texts at the end."""
        self._file.seek(0, 2)
        starts = []
        for text in texts:
            starts.append(self._num_bytes)
            self._num_bytes += self._file.write(text.encode("utf-8", "surrogatepass"))
        self._starts.extend(np.array(starts, dtype=np.uint64))
        self._count += len(starts)
        self._starts_read = None

    def __len__(self) -> int:
        return self._count

    def release(self) -> None:
        """Give up the memory of what has been looked at."""
        self._starts.release()

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        if self._starts_read is None:
            self._starts_read = self._starts.column()
        start = int(self._starts_read[place])
        end = int(self._starts_read[place + 1]) if place + 1 < len(self) else self._num_bytes
        self._file.seek(start)
        return self._file.read(end - start).decode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Corpus:
    """A file, ready to be checked."""

    name: str
    """For people."""

    files: tuple[str, ...]
    """The files that its lines are of; most often one."""

    task: Task
    """What it teaches."""

    table: Table
    """Where the facts lie."""

    facts: Facts
    """Numbers."""

    asked: Texts
    """What each example asks, without the system prompt."""

    answers: Texts
    """What each answers."""

    rejected: Texts
    """The worse answers of pairs; empty for other forms."""

    conversations: Texts
    """Messages and tools as JSON, of the examples whose tool calls are flawed; empty for all others."""

    systems: dict[int, str]
    """System prompts by hash; the first thousand."""

    def __len__(self) -> int:
        return len(self.facts)

    def release(self) -> None:
        """Give up the memory of what a check has looked at: the next one looks at other columns."""
        for each in (self.table, self.asked, self.answers, self.rejected, self.conversations):
            each.release()

    def line(self, place: int) -> int:
        """The line of an example; of several files read as one, its number in the order of reading."""
        return place + 1 if len(self.files) > 1 else int(self.facts.line[place])

    def lines(self, places: Columns) -> list[int]:
        """The lines of examples."""
        found: list[int] = (places + 1 if len(self.files) > 1 else self.facts.line[places]).tolist()
        return found

    def where(self, place: int) -> str:
        """File and line of an example."""
        return f"{self.files[int(self.facts.file[place])]}:{int(self.facts.line[place])}"


def counts_of(column: Columns) -> list[tuple[int, int]]:
    """(place of the first row, how many rows) for each value, the most frequent first."""
    _, first, counts = np.unique(column, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return list(zip(first[order].tolist(), counts[order].tolist(), strict=True))
