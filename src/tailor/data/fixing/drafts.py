"""Rows while they are being mended: on disk, with a few bytes each in memory, and every change logged."""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import BinaryIO

from tailor.data.convert import line_of
from tailor.data.examples import JsonObject, canonical_json
from tailor.data.problems import Problem
from tailor.data.rows import Row

_SPOOL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One line of the log: what became of one row, and why. Never what it said: it may be personal."""

    line: int | None
    """Where the row stood in the file that was read."""

    file: str
    """Which file that is."""

    action: str
    """`dropped`, `changed`, `split`, `copied`, or `moved` to the validation file."""

    step: str
    """The choice that asked for it, such as `drop_duplicates`; `reading` for lines that could not be read."""

    reason: str
    """In words."""

    before: str | None
    """SHA-256 of the row as it was, in canonical JSON; None where there was none."""

    after: str | None
    """SHA-256 of what it became; None where nothing did."""


class Draft:
    """The rows that are left, in order. A place is good until rows are dropped or added."""

    def __init__(self, log: BinaryIO) -> None:
        self.counts: Counter[str] = Counter()
        """Changes by step and action, such as `drop_duplicates dropped`."""
        self.num_changes = 0
        """Of any kind, so far."""
        self.num_rewritten = 0
        """Of these, rows that say something else than before."""
        self._log = log
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - lives as long as we do
        self._end = 0
        self._starts = array("Q")
        self._lines = array("L")
        self._files = array("H")
        self._names: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> JsonObject:
        return self._at(self._starts[place])

    def __iter__(self) -> Iterator[JsonObject]:
        return map(self._at, self._starts)

    def add(self, row: Row) -> None:
        """A row as it was read."""
        self._starts.append(self._write(row.value))
        self._lines.append(row.line)
        self._files.append(self._names.setdefault(row.file, len(self._names)))

    def unread(self, problem: Problem, file: str) -> None:
        """Log a line that gave no row."""
        self._note(problem.line, file, "dropped", "reading", f"{problem.code}: {problem.message}", None, None)

    def line(self, place: int) -> int:
        """Where a row stood in its file."""
        return self._lines[place]

    def change(self, place: int, value: JsonObject, *, step: str, reason: str) -> None:
        """Put another row in the place of one."""
        self._say(place, "changed", step, reason, value)
        self.num_rewritten += 1
        self._starts[place] = self._write(value)

    def drop(self, reasons: dict[int, str], *, step: str, action: str = "dropped") -> None:
        """Leave rows out, each for its reason."""
        for place, reason in sorted(reasons.items()):
            self._say(place, action, step, reason, None)
        self._keep([place for place in range(len(self)) if place not in reasons])

    def divide(self, parts: dict[int, Sequence[JsonObject]], *, step: str, reason: str) -> None:
        """Put several rows in the place of one, for those that are named."""
        starts, lines, files = array("Q"), array("L"), array("H")
        for place in range(len(self)):
            made = [self._starts[place]]
            if place in parts:
                made = [self._write(value) for value in parts[place]]
                self.num_rewritten += 1
                for value in parts[place]:
                    self._say(place, "split", step, reason, value)
            starts.extend(made)
            lines.extend([self._lines[place]] * len(made))
            files.extend([self._files[place]] * len(made))
        self._starts, self._lines, self._files = starts, lines, files

    def copy(self, places: Iterable[int], *, step: str, reason: str) -> None:
        """Repeat rows at the end."""
        for place in list(places):
            self._say(place, "copied", step, reason, self[place])
            self._starts.append(self._starts[place])
            self._lines.append(self._lines[place])
            self._files.append(self._files[place])

    def write(self, stream: BinaryIO, places: Iterable[int] | None = None) -> str:
        """Write rows as JSON Lines; the SHA-256 of the bytes that were written."""
        digest = hashlib.sha256()
        for place in range(len(self)) if places is None else places:
            line = self._line_at(self._starts[place])
            digest.update(line)
            stream.write(line)
        return digest.hexdigest()

    def close(self) -> None:
        """Let the rows go."""
        self._spool.close()

    def _keep(self, places: list[int]) -> None:
        self._starts = array("Q", (self._starts[place] for place in places))
        self._lines = array("L", (self._lines[place] for place in places))
        self._files = array("H", (self._files[place] for place in places))

    def _say(self, place: int, action: str, step: str, reason: str, after: JsonObject | None) -> None:
        file = next(name for name, number in self._names.items() if number == self._files[place])
        before, became = hash_of(self[place]), hash_of(after) if after is not None else None
        self._note(self._lines[place], file, action, step, reason, before, became)

    def _note(
        self,
        line: int | None,
        file: str,
        action: str,
        step: str,
        reason: str,
        before: str | None,
        after: str | None,
    ) -> None:
        change = Change(
            line=line, file=file, action=action, step=step, reason=reason, before=before, after=after
        )
        self._log.write(line_of(asdict(change)))
        self.counts[f"{step} {action}"] += 1
        self.num_changes += 1

    def _write(self, value: JsonObject) -> int:
        line = line_of(value)
        self._spool.seek(self._end)
        self._spool.write(line)
        start, self._end = self._end, self._end + len(line)
        return start

    def _line_at(self, start: int) -> bytes:
        self._spool.seek(start)
        return self._spool.readline()

    def _at(self, start: int) -> JsonObject:
        value: JsonObject = json.loads(self._line_at(start))
        return value


def hash_of(value: JsonObject) -> str:
    """SHA-256 of a row, whatever the spelling of its JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
