"""What has been ordered so far, kept beside the output: after a stop nothing is asked or paid twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tailor.data.examples import JsonObject
from tailor.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens that the teacher read and wrote."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One answered order."""

    number: int
    label: str | None
    refusal: str | None
    """Why it came to nothing; None where `row` is an example."""

    usage: Usage
    row: JsonObject | None = None
    """The training row, its origin in `metadata`."""


@dataclass(slots=True)
class Journal:
    """A file of entries, one line each, flushed to the disk before the next order."""

    path: Path
    identity: Mapping[str, Any]
    """What the run is; a journal of another run is refused."""

    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, Any]) -> Journal:
        """A new journal, or the one of an earlier run that was stopped.

        Raises:
            InvalidRequest: it belongs to another run.
        """
        journal = cls(path=path, identity=identity)
        if not path.exists():
            journal._append({"identity": dict(identity)})
            return journal
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):  # a line that the stop cut in half
            with path.open("r+b") as stream:
                stream.truncate(end)
        first, *rest = [json.loads(line) for line in whole[:end].split(b"\n") if line] or [{}]
        if first.get("identity") != json.loads(json.dumps(dict(identity))):
            raise InvalidRequest(
                f"{path} belongs to a run with other seeds, task, model or settings.",
                remedy="Name another output, or remove that file to begin anew.",
            )
        journal.entries = [Entry(**{**value, "usage": Usage(**value["usage"])}) for value in rest]
        return journal

    def add(self, entry: Entry) -> None:
        """Keep an entry; on disk when this returns."""
        self._append(asdict(entry))
        self.entries.append(entry)

    @property
    def accepted(self) -> list[Entry]:
        """Entries with an example, in the order of their numbers."""
        return sorted((each for each in self.entries if each.row is not None), key=lambda each: each.number)

    @property
    def usage(self) -> Usage:
        """All tokens so far."""
        total = Usage()
        for entry in self.entries:
            total += entry.usage
        return total

    def per_label(self) -> Counter[str | None]:
        """Accepted examples of each label."""
        return Counter(entry.label for entry in self.accepted)

    def refusals(self) -> Counter[str]:
        """Refused drafts by reason."""
        return Counter(entry.refusal for entry in self.entries if entry.refusal is not None)

    def next_number(self) -> int:
        """The number of the next order."""
        return max((entry.number for entry in self.entries), default=-1) + 1

    def _append(self, value: Mapping[str, Any]) -> None:
        with self.path.open("ab") as stream:
            stream.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
