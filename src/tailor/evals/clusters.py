"""Items that resemble each other by what they ask and expect, with the words that tell them from others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Final, Literal

from tailor.protocol import Cluster

MOST_CLUSTERS: Final = 6
"""Of one outcome: more are not read."""
_ITEMS_EACH: Final = 8
"""A cluster for so many items, as a rule."""
_MOST_ITEMS: Final = 400
"""Grouping takes the square of it; of more items these are looked at."""
_LABEL_CHARACTERS: Final = 40
"""An expected answer of up to this length counts as one word more, a weighty one."""
_WORD: Final = re.compile(r"[^\W\d_]{2,}|\d+")
_NUM_WORDS: Final = 5
_NUM_EXAMPLES: Final = 3
_MAX_CHARACTERS: Final = 200
_CLEAR_MAJORITY: Final = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One item."""

    line: int
    prompt: str
    expected: str = ""

    @property
    def words(self) -> list[str]:
        """Of the prompt."""
        return [word.lower() for word in _WORD.findall(self.prompt)]


def cluster(
    outcome: Literal["fixed", "broken"], items: Sequence[Asked], others: Sequence[Asked]
) -> list[Cluster]:
    """Group items by their words (TF-IDF) and their expected answers (Ward's linkage); largest first.

    `others` did not change this way: words that are as usual there tell nothing.
    """
    items = items[:_MOST_ITEMS]
    if not items:
        return []
    words = [set(item.words) for item in items]
    usual = Counter(word for item in others for word in set(item.words))
    vectors = _vectors(items, usual, len(others))
    found = [
        _described(outcome, items, group, vectors, words, usual, len(others)) for group in _grouped(vectors)
    ]
    return sorted(found, key=lambda each: (-each.count, each.lines[0]))


def by_outcome(asked: Sequence[Asked], outcomes: Sequence[str]) -> list[Cluster]:
    """Clusters of what broke, then of what was fixed, each against all the rest."""
    kinds: tuple[Literal["broken", "fixed"], ...] = ("broken", "fixed")
    return [
        each
        for kind in kinds
        for each in cluster(
            kind,
            [item for item, outcome in zip(asked, outcomes, strict=True) if outcome == kind],
            [item for item, outcome in zip(asked, outcomes, strict=True) if outcome != kind],
        )
    ]


def _vectors(items: Sequence[Asked], usual: Counter[str], num_others: int) -> Any:
    """A row of unit length per prompt, followed by its expected answer."""
    import numpy as np

    counts = [Counter(item.words) for item in items]
    frequency = usual + Counter(word for each in counts for word in each)
    total = len(items) + num_others
    places = {word: place for place, word in enumerate(sorted({word for each in counts for word in each}))}
    matrix = np.zeros((len(items), max(1, len(places))))
    for row, each in enumerate(counts):
        for word, count in each.items():
            matrix[row, places[word]] = (1 + log(count)) * log((1 + total) / frequency[word])
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    labels = sorted({item.expected for item in items})
    short = np.array(
        [[item.expected == label and len(label) <= _LABEL_CHARACTERS for label in labels] for item in items]
    )
    return np.hstack([matrix / np.where(lengths == 0, 1, lengths), short.astype(float)])


def _grouped(vectors: Any) -> list[list[int]]:
    most = min(MOST_CLUSTERS, -(-len(vectors) // _ITEMS_EACH))
    if most == 1:
        return [list(range(len(vectors)))]
    from scipy.cluster.hierarchy import fcluster, linkage

    labels = fcluster(linkage(vectors, method="ward"), most, criterion="maxclust")
    groups: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        groups.setdefault(int(label), []).append(place)
    return list(groups.values())


def _described(
    outcome: Literal["fixed", "broken"],
    items: Sequence[Asked],
    group: list[int],
    vectors: Any,
    words: list[set[str]],
    usual: Counter[str],
    num_others: int,
) -> Cluster:
    middle = vectors[group].mean(axis=0)
    nearest = sorted(group, key=lambda place: (-float(vectors[place] @ middle), place))
    inside = Counter(word for place in group for word in words[place])
    outside = usual + Counter(word for found in words for word in found) - inside
    rest = num_others + len(items) - len(group)

    def telling(word: str) -> float:
        """How usual the word is here, times how much likelier than elsewhere; less than twice is nothing."""
        here, there = inside[word] / len(group), (outside[word] + 0.5) / (rest + 1)
        return here * log(here / there) if here >= 2 * there else 0.0

    ranked = sorted((word for word in inside if telling(word) > 0), key=lambda word: (-telling(word), word))
    [(expected, count)] = Counter(items[place].expected for place in group).most_common(1)
    is_agreed = count >= _CLEAR_MAJORITY * len(group) and len(expected) <= _LABEL_CHARACTERS
    return Cluster(
        outcome=outcome,
        words=ranked[:_NUM_WORDS],
        expected=expected if is_agreed and expected else None,
        count=len(group),
        lines=sorted(items[place].line for place in group),
        examples=[_clip(items[place].prompt) for place in nearest[:_NUM_EXAMPLES]],
    )


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_CHARACTERS else line[: _MAX_CHARACTERS - 4] + " ..."
