"""Which texts are like a text: BM25 for search, TF-IDF for choosing what differs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

_WORD: Final = re.compile(r"\w+")
_K1: Final = 1.5
_B: Final = 0.75


def words_of(text: str) -> list[str]:
    """Words and figures, in small letters."""
    return _WORD.findall(text.casefold())


class Index:
    """BM25 over texts (S. Robertson and H. Zaragoza, Foundations and Trends in IR 3, 2009, 333-389)."""

    def __init__(self, texts: Sequence[str]) -> None:
        from scipy.sparse import csc_array

        counts = [Counter(words_of(text)) for text in texts]
        self._places = {word: place for place, word in enumerate(sorted({w for c in counts for w in c}))}
        lengths = np.array([max(count.total(), 1) for count in counts], dtype=np.float64)
        rows = np.repeat(np.arange(len(counts)), [len(count) for count in counts])
        columns = np.array([self._places[word] for count in counts for word in count], dtype=np.int64)
        times = np.array([number for count in counts for number in count.values()], dtype=np.float64)
        shape = len(texts), max(len(self._places), 1)
        frequency = np.bincount(columns, minlength=shape[1])
        rarity = np.log1p((len(texts) - frequency + 0.5) / (frequency + 0.5))
        norm = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1e-9)) if len(texts) else lengths
        weight = rarity[columns] * times * (_K1 + 1) / (times + norm[rows]) if len(rows) else times
        self._weights: Any = csc_array((weight, (rows, columns)), shape=shape)
        self._count = len(texts)

    def __len__(self) -> int:
        return self._count

    def nearest(self, text: str, most: int) -> list[tuple[int, float]]:
        """(place, score) of the texts that share most with a text, the best first.

        Those that share nothing are left out.
        """
        known = sorted({self._places[word] for word in words_of(text) if word in self._places})
        if not known:
            return []
        scores = np.asarray(self._weights[:, known].sum(axis=1)).ravel()
        order = np.argsort(-scores, kind="stable")[:most]
        return [(int(place), float(scores[place])) for place in order if scores[place] > 0]


def spread_out(texts: Sequence[str], wanted: int) -> list[int]:
    """Places of texts that differ most: the most typical one, then always the farthest from all chosen."""
    from scipy.sparse import csr_array

    wanted = min(wanted, len(texts))
    if wanted < 1:
        return []
    counts = [Counter(words_of(text)) for text in texts]
    places = {word: place for place, word in enumerate(sorted({w for c in counts for w in c}))}
    rows = np.repeat(np.arange(len(counts)), [len(count) for count in counts])
    columns = np.array([places[word] for count in counts for word in count], dtype=np.int64)
    times = np.array([number for count in counts for number in count.values()], dtype=np.float64)
    rarity = np.log(len(texts) / np.maximum(np.bincount(columns, minlength=len(places)), 1)) + 1
    weight = (1 + np.log(times)) * rarity[columns]
    lengths = np.sqrt(np.bincount(rows, weights=weight**2, minlength=len(texts)))
    vectors: Any = csr_array(
        (weight / np.maximum(lengths[rows], 1e-12), (rows, columns)), shape=(len(texts), max(len(places), 1))
    )
    first = int(np.argmax(np.asarray(vectors @ np.asarray(vectors.sum(axis=0)).ravel())))
    chosen, likeness = [first], np.full(len(texts), -np.inf)
    while len(chosen) < wanted:
        newest = np.asarray(vectors[[chosen[-1]], :].toarray()).ravel()
        likeness = np.maximum(likeness, np.asarray(vectors @ newest))
        likeness[chosen] = np.inf
        chosen.append(int(np.argmin(likeness)))
    return chosen
