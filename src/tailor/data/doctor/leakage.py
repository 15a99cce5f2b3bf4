"""Validation examples that training has seen: word for word, by their question, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.duplicates import signed_text
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.doctor.similar import comparing_two, matches

_WHY = "Figures on examples that training has seen say nothing about new ones: they come out too good."
_WHAT = {
    "overlap": "stand in the training file too",
    "overlapping_prompt": "ask what the training file asks, with another answer",
    "respelled_overlap": "ask what the training file asks, but for case, spacing and punctuation",
    "near_overlap": "nearly ask what training asks",
}
_REMEDY = "Remove it from one of the two: figures on seen examples say nothing."


def find_leakage(corpus: Corpus, validation: Corpus, options: Options) -> Iterator[Evidence]:
    """Examples of the validation file that the training file holds too."""
    seen = _first_in(corpus.facts.example, validation.facts.example)
    asked = _first_in(corpus.facts.prompt, validation.facts.prompt)
    is_text = corpus.task.kind == "text"
    spelled = _first_in(corpus.facts.loose, validation.facts.loose)
    exact = np.flatnonzero(seen >= 0)
    same_question = np.flatnonzero((seen < 0) & (asked >= 0)) if not is_text else np.array([], dtype=np.int64)
    yield from _leak(
        corpus, validation, "overlap", "Leaked examples", exact, seen, "the example is also in", 10
    )
    yield from _leak(
        corpus, validation, "overlapping_prompt", "Leaked questions", same_question, asked,
        "the same prompt is also in", 8,
    )  # fmt: skip
    respelled = np.flatnonzero((seen < 0) & (asked < 0) & (spelled >= 0))
    yield from _leak(
        corpus, validation, "respelled_overlap", "Leaked but for spelling", respelled, spelled,
        "the same but for case, spacing and punctuation is in", 6,
    )  # fmt: skip
    rest = np.flatnonzero((seen < 0) & (asked < 0) & (spelled < 0))
    alike = comparing_two(
        lambda place: signed_text(corpus, place),
        lambda row: signed_text(validation, int(rest[row])),
        threshold=options.near,
    )
    found = matches(corpus.facts.bands, validation.facts.bands, alike, other_rows=rest)
    near = np.full(len(validation), -1, dtype=np.int64)
    for row, place in found.items():
        near[rest[row]] = place
    places = np.flatnonzero(near >= 0)
    yield from _leak(
        corpus, validation, "near_overlap", "Near leaks", places, near, "nearly the same is asked in", 2
    )


def _leak(
    corpus: Corpus,
    validation: Corpus,
    code: str,
    title: str,
    places: Columns,
    partner: Columns,
    said: str,
    badness: float,
) -> Iterator[Evidence]:
    pairs = zip(validation.lines(places), corpus.lines(partner[places]), strict=True)
    yield from finding(
        [advice(line, code, f"{said} the training file, line {other}.", _REMEDY) for line, other in pairs],
        title=title,
        message=f"{counted(len(places), 'example')} of {len(validation):,} in {validation.name} "
        f"{_WHAT[code]}.",
        why=_WHY,
        remedy=_REMEDY,
        total=len(validation),
        badness=badness,
        file=validation.name,
    )


def _first_in(known: Columns, asked: Columns) -> Columns:
    """For each value the first place it has in `known`, or -1."""
    if not len(known):
        return np.full(len(asked), -1, dtype=np.int64)
    values, first = np.unique(known, return_index=True)
    at = np.minimum(np.searchsorted(values, asked), len(values) - 1)
    found: Columns = np.where(values[at] == asked, first[at], -1)
    return found
