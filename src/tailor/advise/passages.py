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
_EMBEDDED_CHARACTERS: Final = 2_000
_POOL: Final = 50
_RANK: Final = 60
"""Of reciprocal rank fusion: how little the first places count above the next."""

_TAG: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)


Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts to vectors, one each."""


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


def fused_finder(
    passages: Sequence[Passage], count: int, embed: Embed, keys: Sequence[str] | None = None
) -> Callable[[Item], list[Passage]]:
    """Looks up by words and by meaning: reciprocal ranks of BM25 and of vectors, added (Cormack et al. 2009).

    The mean of all vectors is taken out first: what all texts have in common tells none apart.
    """
    import numpy as np

    texts = [text[:_EMBEDDED_CHARACTERS] or " " for text in keys or [passage.text for passage in passages]]
    index = Index(keys or [f"{passage.source} {passage.text}" for passage in passages])
    vectors = np.asarray(embed(texts), dtype=np.float32)
    middle = vectors.mean(axis=0)
    vectors -= middle
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def find(item: Item) -> list[Passage]:
        asked = np.asarray(embed([item.asked[:_EMBEDDED_CHARACTERS] or " "])[0], dtype=np.float32) - middle
        by_meaning = np.argsort(-(vectors @ asked), kind="stable")[:_POOL].tolist()
        by_words = [place for place, _ in index.nearest(item.asked, _POOL)]
        scores: dict[int, float] = {}
        for ranking in (by_words, by_meaning):
            for rank, place in enumerate(ranking, start=1):
                scores[place] = scores.get(place, 0.0) + 1 / (_RANK + rank)
        best = sorted(scores, key=lambda place: (-scores[place], place))[:count]
        return [passages[place] for place in best]

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
