"""Examples that mean the same in other words, where a model is at hand that turns texts into vectors.

The mean of all vectors is taken out first: language models put all texts into one corner of their space, and
what is left tells them apart (Mu and Viswanath 2018, "All-but-the-Top").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from tailor.data.doctor.columns import Columns, first_of
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.duplicates import signed_text
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Embed, Options

COMPARED: Final = 20_000
"""Examples that are compared, each with each: the first ones of a larger file."""

_BLOCK: Final = 1_000
_AT_ONCE: Final = 256
_MOST_CHARACTERS: Final = 2_000


def find_paraphrases(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Examples that ask what an earlier one asks, in other words; of labelled ones, with the same label."""
    if options.embed is None:
        return
    places = _different(corpus)
    vectors = _vectors(corpus, places, options.embed)
    vectors = _apart(vectors, vectors.mean(axis=0))
    labels = corpus.facts.label[places]
    pairs = []
    for rows, likeness in _likenesses(vectors, vectors):
        if corpus.task.has_one_right_answer:
            likeness[labels[rows][:, None] != labels[None, :]] = 0
        likeness[np.arange(len(vectors))[None, :] >= rows[:, None]] = 0  # earlier ones only
        pairs += _nearest(rows, likeness, options.same_meaning)
    lines = [
        (corpus.line(int(places[one])), corpus.line(int(places[other])), value) for one, other, value in pairs
    ]
    yield from _told(
        lines,
        code="paraphrase",
        sentence="the example asks what line {line} asks, in other words (likeness {likeness:.2f}).",
        title="Paraphrases",
        message=f"{counted(len(pairs), 'example')} of {len(corpus):,} ask in other words what an earlier one "
        "asks.",
        why="Some are good, they teach what may vary; many of the same weigh like copies.",
        remedy="Keep the best one, unless the wording is what you want to teach.",
        total=len(corpus),
        badness=0.5,
    )


def find_leaked_meaning(corpus: Corpus, validation: Corpus, options: Options) -> Iterator[Evidence]:
    """Validation examples that ask in other words what training asks."""
    if options.embed is None:
        return
    mine, theirs = _different(corpus), _different(validation)
    theirs = theirs[~np.isin(validation.facts.loose[theirs], corpus.facts.loose[mine])]
    if not len(theirs):
        return
    known = _vectors(corpus, mine, options.embed)
    middle = known.mean(axis=0)
    known, asked = _apart(known, middle), _apart(_vectors(validation, theirs, options.embed), middle)
    pairs = []
    for rows, likeness in _likenesses(asked, known):
        pairs += _nearest(rows, likeness, options.same_meaning)
    lines = [
        (validation.line(int(theirs[one])), corpus.line(int(mine[other])), value)
        for one, other, value in pairs
    ]
    yield from _told(
        lines,
        code="same_meaning_overlap",
        sentence="asks in other words what the training file, line {line}, asks (likeness {likeness:.2f}).",
        title="Leaked meaning",
        message=f"{counted(len(pairs), 'example')} of {len(validation):,} in {validation.name} ask in other "
        "words what training asks.",
        why="New wording is a fair test of wording; for what is to be known it is no test.",
        remedy="Leave it out of validation, or hold out whole topics instead of single questions.",
        total=len(validation),
        badness=1,
        file=validation.name,
    )


def _told(
    pairs: Sequence[tuple[int, int, float]], *, code: str, sentence: str, remedy: str, **more: Any
) -> Iterator[Evidence]:
    """A finding of (line, the line whose meaning it has, likeness); `sentence` says one of them."""
    problems = [
        advice(line, code, sentence.format(line=other, likeness=likeness), remedy)
        for line, other, likeness in pairs
    ]
    yield from finding(problems, remedy=remedy, **more)


def _different(corpus: Corpus) -> Columns:
    """The places to compare: what is the same but for spelling is told of elsewhere."""
    places = np.flatnonzero(first_of(corpus.facts.loose) == np.arange(len(corpus)))
    return places[:COMPARED]


def _vectors(corpus: Corpus, places: Columns, embed: Embed) -> Columns:
    """`[N, E]`, float32."""
    parts = []
    for start in range(0, len(places), _AT_ONCE):
        block = places[start : start + _AT_ONCE].tolist()
        texts = [signed_text(corpus, place)[:_MOST_CHARACTERS] or " " for place in block]
        parts.append(np.asarray(embed(texts), dtype=np.float32))
    return np.concatenate(parts)


def _apart(vectors: Columns, middle: Columns) -> Columns:
    vectors = vectors - middle
    found: Columns = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def _likenesses(asked: Columns, known: Columns) -> Iterator[tuple[Columns, Columns]]:
    """Block by block: rows of `asked`, and how like each is to all of `known`."""
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        yield np.arange(start, start + len(block)), block @ known.T


def _nearest(rows: Columns, likeness: Columns, least: float) -> list[tuple[int, int, float]]:
    """(row, the one it is most like, how like) for the rows that are like any."""
    best = likeness.argmax(axis=1)
    values = likeness[np.arange(len(rows)), best]
    found = np.flatnonzero(values >= least)
    return list(zip(rows[found].tolist(), best[found].tolist(), values[found].tolist(), strict=True))
