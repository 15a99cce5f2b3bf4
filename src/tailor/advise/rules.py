"""Extraction without a language model: each field by patterns, known values, or a linear model."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailor.advise.texts import words_of
from tailor.data import canonical_json

_LEAST_SHARE: Final = 0.03
"""A field that fewer examples have is not learnt."""

_COPIED: Final = 0.6
"""Of a field's values, how many must stand in the text for it to be found there."""

_LEAST_PRECISION: Final = 0.6
_MOST_PATTERNS: Final = 40
_LEARN_FROM: Final = 1_500
_MOST_CLASSES: Final = 60
_RUN: Final = re.compile(r"\d+|[A-Z]+|[^\W\d_]+|\s+|.", re.DOTALL)

FitClasses = Callable[[Sequence[str], Sequence[str]], Callable[[Sequence[str]], list[str]]]
"""From texts and their classes to what tells the classes of other texts."""

_ABSENT: Final = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Finds a value that stands in the text."""

    patterns: tuple[re.Pattern[str], ...]
    """The most reliable one first; the first group is the value."""

    known: frozenset[str]
    """Values seen, as words, that nearly always were the value where they stood."""

    def __call__(self, text: str) -> str | None:
        """The value in a text."""
        for pattern in self.patterns:
            if found := pattern.search(text):
                return found[1]
        words = list(re.finditer(r"\w+", text))
        for length in range(min(6, len(words)), 0, -1):
            for start in range(len(words) - length + 1):
                piece = text[words[start].start() : words[start + length - 1].end()]
                if " ".join(words_of(piece)) in self.known:
                    return piece
        return None


def learn_span(texts: Sequence[str], values: Sequence[str | None]) -> Span:
    """Patterns of what stands before a value and of how it is written, kept where they are right mostly."""
    pairs = list(zip(texts, values, strict=True))[:_LEARN_FROM]
    tried: Counter[str] = Counter()
    for text, value in pairs:
        if value:
            tried.update(_patterns_for(text, value))
    scored = []
    for source, _ in tried.most_common(4 * _MOST_PATTERNS):
        pattern = re.compile(source)
        hits = [(found[1], value) for text, value in pairs if (found := pattern.search(text))]
        right = sum(_same(found, value) for found, value in hits)
        if right > 1 and right >= _LEAST_PRECISION * len(hits):
            scored.append((right / len(hits), right, pattern))
    scored.sort(key=lambda each: (-each[0], -each[1], each[2].pattern))
    return Span(patterns=tuple(pattern for *_, pattern in scored[:_MOST_PATTERNS]), known=_known(pairs))


def learn_fields(
    texts: Sequence[str], answers: Sequence[str], fit_classes: FitClasses
) -> Callable[[Sequence[str]], list[str]]:
    """From examples of objects to what fills in the objects of other texts."""
    objects = [dict(_flat(_object(answer))) for answer in answers]
    counts = Counter(path for each in objects for path in each)
    finders: dict[tuple[str, ...], Callable[[Sequence[str]], list[Any]]] = {}
    for path, count in counts.items():
        if count >= max(2, _LEAST_SHARE * len(texts)):
            finders[path] = _finder(texts, [each.get(path) for each in objects], fit_classes)

    def fill(asked: Sequence[str]) -> list[str]:
        found = {path: finder(asked) for path, finder in finders.items()}
        return [
            canonical_json(_nested({path: values[place] for path, values in found.items()}))
            for place in range(len(asked))
        ]

    return fill


def _finder(
    texts: Sequence[str], values: Sequence[Any], fit_classes: FitClasses
) -> Callable[[Sequence[str]], list[Any]]:
    given = [(text, value) for text, value in zip(texts, values, strict=True) if value is not None]
    copied = sum(isinstance(value, str) and value.casefold() in text.casefold() for text, value in given)
    classes = Counter(canonical_json(value) for _, value in given)
    if copied >= _COPIED * len(given) and len(classes) > min(8, len(given) / 4):
        span = learn_span(texts, [value if isinstance(value, str) else None for value in values])
        return lambda asked: [span(text) for text in asked]
    usual = {name for name, _ in classes.most_common(_MOST_CLASSES)}
    names = [_ABSENT if value is None else canonical_json(value) for value in values]
    kept = [place for place, name in enumerate(names) if name == _ABSENT or name in usual]
    tell = fit_classes([texts[place] for place in kept], [names[place] for place in kept])
    return lambda asked: [None if name == _ABSENT else json.loads(name) for name in tell(asked)]


def _patterns_for(text: str, value: str) -> Iterator[str]:
    place = text.casefold().find(value.casefold())
    if place < 0:
        return
    runs = _RUN.findall(text[place : place + len(value)])
    shape = "".join(map(_shape_of, runs))
    before = re.findall(r"\S+", text[:place])[-2:]
    if any(run.isdigit() for run in runs):
        yield rf"(?<!\w)({shape})(?!\w)"
    for count in range(1, len(before) + 1):
        context = r"\s+".join(re.escape(word) for word in before[-count:])
        yield rf"(?i:{context})\s+({shape})(?!\w)"


def _shape_of(run: str) -> str:
    if run.isdigit():
        return r"\d+"
    if run.isspace():
        return r"\s+"
    return r"\w+" if run.isalpha() else re.escape(run)


def _known(pairs: Sequence[tuple[str, str | None]]) -> frozenset[str]:
    values = {" ".join(words_of(value)) for _, value in pairs if value}
    stood: dict[str, list[bool]] = defaultdict(list)
    for text, value in pairs:
        words = words_of(text)
        wanted = " ".join(words_of(value)) if value else None
        pieces = {
            " ".join(words[start : start + length])
            for length in range(1, 7)
            for start in range(len(words) - length + 1)
        }
        for piece in pieces & values:
            stood[piece].append(piece == wanted)
    return frozenset(
        piece for piece, right in stood.items() if piece and sum(right) >= _LEAST_PRECISION * len(right)
    )


def _same(found: str, value: str | None) -> bool:
    return value is not None and words_of(found) == words_of(value)


def _object(answer: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _flat(inside, (*path, key))
    elif path and value is not None:
        yield path, value


def _nested(flat: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for path, value in flat.items():
        if value is None:
            continue
        inside = built
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = value
    return built
