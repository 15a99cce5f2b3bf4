"""Examples that stand in a file more than once, word for word or nearly so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tailor.data.doctor.columns import Columns, first_of
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.doctor.similar import Alike, band_keys, comparing, groups_of, leaders


def near_duplicates(texts: Sequence[str], *, threshold: float) -> list[tuple[int, ...]]:
    """Groups of places whose texts are alike: MinHash finds candidates, exact comparison decides.

    The first place of a group leads it and every other is at least `threshold` alike to it (0 to 1:
    Jaccard of four-byte windows, case and spacing aside) or the same but for slips of a key and fillers.
    A place is in one group at most, so keeping the leaders leaves no two texts alike.
    """
    keys = band_keys(texts, threshold=threshold)
    return groups_of(leaders(keys.T, comparing(texts.__getitem__, threshold=threshold)))


def find_duplicates(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Examples that stand in the file more than once, word for word."""
    first = first_of(corpus.facts.example)
    places = np.flatnonzero(first != np.arange(len(corpus)))
    remedy = "Keep one; repeating it gives it more weight."
    yield from finding(
        [
            advice(line, "duplicate", f"the example is the same as in line {original}.", remedy)
            for line, original in zip(corpus.lines(places), corpus.lines(first[places]), strict=True)
        ],
        title="Exact duplicates",
        message=f"{counted(len(places), 'example')} of {len(corpus):,} "
        f"{'is a copy' if len(places) == 1 else 'are copies'} of an earlier one.",
        why="A copy weighs as much as a new example and teaches nothing new; in a random split it leaks.",
        remedy="Keep one of each.",
        total=len(corpus),
        badness=3,
    )


def find_near_duplicates(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Examples that ask nearly the same as an earlier one and are answered alike."""
    facts = corpus.facts
    kept = np.flatnonzero(first_of(facts.example) == np.arange(len(corpus)))
    alike_asked = comparing(lambda row: signed_text(corpus, int(kept[row])), threshold=options.near)
    same_answer = _answers_alike(corpus, kept, options.near)
    lead = leaders(
        facts.bands, lambda one, other: alike_asked(one, other) and same_answer(one, other), rows=kept
    )
    rows = np.flatnonzero(lead != np.arange(len(kept)))
    places, originals = kept[rows], kept[lead[rows]]
    num_exact = len(corpus) - len(kept)
    yield Figure(name="copies", data={"own": len(kept) - len(rows), "near": len(rows), "exact": num_exact})
    remedy = "Keep the best one, or see that the difference is worth an example."
    from_templates = len(rows) > _FROM_TEMPLATES * len(corpus)
    yield from finding(
        [
            advice(line, "near_duplicate", f"the example is nearly the same as line {original}.", remedy)
            for line, original in zip(corpus.lines(places), corpus.lines(originals), strict=True)
        ],
        title="Made from templates" if from_templates else "Near duplicates",
        message=f"{counted(len(places), 'example')} of {len(corpus):,} "
        f"{'is' if len(places) == 1 else 'are'} at least {options.near:.0%} the same as an earlier one "
        f"with the same answer ({counted(len(np.unique(originals)), 'original')}).",
        why="So many near copies are the mark of templates: there are fewer examples than lines."
        if from_templates
        else "Near copies weigh like copies, and a test item that resembles them is no test.",
        remedy="Vary the wording, and split training from test by template."
        if from_templates
        else "Keep one of each, unless the small differences are what you want to teach.",
        total=len(corpus),
        badness=0.5 if from_templates else 1.5,
    )


_FROM_TEMPLATES: Final = 0.3


def signed_text(corpus: Corpus, place: int) -> str:
    """The text that an example is compared by: what is asked, or the whole text where nothing is."""
    return corpus.asked[place] or corpus.answers[place]


def _answers_alike(corpus: Corpus, kept: Columns, threshold: float) -> Alike:
    labels = corpus.facts.label[kept]
    if corpus.task.has_one_right_answer:
        return lambda one, other: bool(labels[one] == labels[other])
    alike = comparing(lambda row: corpus.answers[int(kept[row])], threshold=threshold)
    return lambda one, other: bool(labels[one] == labels[other]) or alike(one, other)
