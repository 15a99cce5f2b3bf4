"""What can be looked up: passages of a folder of documents, or the examples that are learnt from."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tailor.advise.texts import Index
from tailor.data.doctor import Item
from tailor.errors import InvalidRequest

_SUFFIXES: Final = frozenset({".txt", ".md", ".rst", ".html", ".htm", ".csv", ".tsv", ".json", ".jsonl"})
_PASSAGE_CHARACTERS: Final = 700
_MOST_FILES: Final = 20_000
_MOST_BYTES: Final = 100 * 2**20
_TAG: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A piece of text, and where it stands."""

    source: str
    """File and line."""

    text: str


def read_documents(folder: Path) -> tuple[Passage, ...]:
    """The passages of every text file in a folder, or of one file.

    Raises:
        InvalidRequest: There is no text, or too much of it.
    """
    if not folder.exists():
        raise InvalidRequest(f"There is no folder {folder}.", param="--documents")
    paths = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    files = [path for path in paths if path.is_file() and path.suffix.lower() in _SUFFIXES]
    if len(files) > _MOST_FILES or sum(path.stat().st_size for path in files) > _MOST_BYTES:
        raise InvalidRequest(
            f"{folder} holds more than {_MOST_FILES:,} files or {_MOST_BYTES // 2**20} MiB.",
            param="--documents",
            remedy="Name a folder with what the answers are found in.",
        )
    found = []
    for path in files:
        name = path.relative_to(folder).as_posix() if folder.is_dir() else path.name
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix.lower() in (".html", ".htm"):
            text = html.unescape(_TAG.sub(" ", text))
        found += [Passage(source=f"{name}:{line}", text=piece) for line, piece in _pieces(text)]
    if not found:
        raise InvalidRequest(
            f"{folder} holds no text.",
            param="--documents",
            remedy=f"It may hold files with the endings {', '.join(sorted(_SUFFIXES))}.",
        )
    return tuple(found)


def of_examples(train: Sequence[Item]) -> tuple[Passage, ...]:
    """The examples as passages: what was asked, and what was answered."""
    return tuple(
        Passage(source=f"line {item.line}", text=f"Question: {item.asked}\nAnswer: {item.answer}")
        for item in train
    )


def finder(
    passages: Sequence[Passage], count: int, keys: Sequence[str] | None = None
) -> Callable[[Item], list[Passage]]:
    """Looks up the passages nearest to an item; by other texts than their own where `keys` are given."""
    index = Index(keys or [f"{passage.source} {passage.text}" for passage in passages])

    def find(item: Item) -> list[Passage]:
        return [passages[place] for place, _ in index.nearest(item.asked, count)]

    return find


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, short ones together and long ones cut at line ends, with the line each starts in."""
    held: list[str] = []
    start, length = 1, 0
    for number, line in enumerate(text.split("\n"), start=1):
        is_break = not line.strip()
        if held and ((is_break and length > _PASSAGE_CHARACTERS / 2) or length > _PASSAGE_CHARACTERS):
            yield start, "\n".join(held)
            held, length = [], 0
        if not is_break:
            if not held:
                start = number
            held.append(line.strip())
            length += len(line)
    if held:
        yield start, "\n".join(held)
