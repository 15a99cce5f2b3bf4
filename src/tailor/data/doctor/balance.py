"""Classes: rare ones that cannot be learned, and one that drowns the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from tailor.data.doctor.corpus import Corpus, counts_of
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.problems import lines_in_words

_MOST_PLOTTED: Final = 200
_TOO_FEW: Final = 5


def find_imbalance(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Classes with too few examples to be learned, and a class that drowns the others."""
    if corpus.task.kind != "classification":
        return
    kinds = counts_of(corpus.facts.label)
    labels = [(corpus.answers[place].strip()[:60], count, place) for place, count in kinds]
    yield Figure(
        name="classes",
        data={
            "counts": [[label, count] for label, count, _ in labels[:_MOST_PLOTTED]],
            "num_labels": len(labels),
        },
    )
    total = len(corpus)
    usual = float(np.median([count for _, count in kinds]))
    problems, lines = [], []
    remedy = "Add examples of it, or merge it with another class."
    for label, count, first in labels:
        if count >= _TOO_FEW and (count >= 0.01 * total or count >= usual / 5):
            continue
        places = np.flatnonzero(corpus.facts.label == corpus.facts.label[first])
        lines += corpus.lines(places)
        times = "once" if count == 1 else f"{count:,} times"
        where = lines_in_words(corpus.lines(places))
        said = f"the answer {label[:40]!a} is given {times} in {total:,} examples ({where})."
        problems.append(advice(corpus.line(first), "rare_class", said, remedy))
    names = ", ".join(repr(label) for label, *_ in labels[::-1][:3])
    yield from finding(
        problems,
        title="Rare classes",
        message=f"{counted(len(problems), 'class', 'classes')} of {len(labels):,} with too few examples "
        f"(the rarest: {names}; {usual:.0f} are usual).",
        why="With a handful of examples a class is hardly ever answered, and cannot be measured.",
        remedy="Add examples of these classes, or merge them with others.",
        total=total,
        lines=lines,
        badness=4,
    )
    label, count, _ = labels[0]
    if len(labels) > 1 and count > 0.9 * total:
        said = f"{count:,} of {total:,} answers are {label[:40]!a}."
        yield from finding(
            [advice(None, "dominant_class", said, "Add examples of the other classes.")],
            title="One class drowns the others",
            message=said,
            why="Always giving this answer is already right nine times in ten; the rest is hardly learned.",
            remedy="Add examples of the other classes, or use fewer of this one.",
            total=total,
            badness=2,
        )
