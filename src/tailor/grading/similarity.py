"""How alike two texts are, from 0 to 1: OpenAI's metrics for `text_similarity`.

    fuzzy_match   rapidfuzz's ratio: 1 minus insertions and deletions over the length of both
    bleu          sacrebleu's sentence BLEU: 13a tokens, exponential smoothing, effective order
    gleu          Wu et al. 2016 (arXiv 1609.08144), section 4.3: n-grams up to 4, the lesser of
                  precision and recall
    meteor        Banerjee and Lavie 2005: same words, then same stems; synonyms (WordNet) are left out
    rouge_1 .. 5  Lin 2004: F1 over n-grams; rouge_l: F1 over the longest common subsequence
    cosine        of the texts' embeddings, by a model that the caller gives

Words are runs of letters and digits of any script; ROUGE and METEOR take upper and lower case as the same.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import mul
from typing import Final

from tailor.grading._porter import stem

_WORD: Final = re.compile(r"[^\W_]+")
_WORD_OR_MARK: Final = re.compile(r"\w+|[^\w\s]")
_MAX_CHARACTERS: Final = 100_000
_MAX_WORDS: Final = 4_000
"""More are cut off where time grows with the square of the length."""


def similarity(metric: str, text: str, reference: str) -> float:
    """How alike, by one of the metrics above but `cosine`."""
    return METRICS[metric](text, reference)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of the angle between two vectors; 0 where one of them has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / lengths if lengths else 0.0


def fuzzy_match(text: str, reference: str) -> float:
    """Normalised indel similarity, by rapidfuzz."""
    from rapidfuzz.fuzz import ratio

    return ratio(text[:_MAX_CHARACTERS], reference[:_MAX_CHARACTERS]) / 100


def bleu(text: str, reference: str) -> float:
    """Sentence BLEU as sacrebleu defines it (Post 2018, arXiv 1804.08771)."""
    from sacrebleu import sentence_bleu

    return min(1.0, sentence_bleu(text, [reference]).score / 100)


def gleu(text: str, reference: str) -> float:
    """Google's BLEU for single sentences."""
    said, wanted = _WORD_OR_MARK.findall(text), _WORD_OR_MARK.findall(reference)
    ours = Counter(gram for size in range(1, 5) for gram in _grams(said, size))
    theirs = Counter(gram for size in range(1, 5) for gram in _grams(wanted, size))
    most = max(ours.total(), theirs.total())
    return (ours & theirs).total() / most if most else 0.0


def meteor(text: str, reference: str) -> float:
    """Harmonic mean that favours recall, less a penalty for words out of order."""
    said = _WORD_OR_MARK.findall(text.lower())[:_MAX_WORDS]
    wanted = _WORD_OR_MARK.findall(reference.lower())[:_MAX_WORDS]
    pairs = _align(said, wanted)
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(said), len(pairs) / len(wanted)
    mean = 10 * precision * recall / (recall + 9 * precision)
    chunks = 1 + sum(later != (i + 1, j + 1) for (i, j), later in pairwise(pairs))
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


def rouge(text: str, reference: str, size: int) -> float:
    """F1 over n-grams of one size."""
    said, wanted = _WORD.findall(text.lower()), _WORD.findall(reference.lower())
    ours, theirs = Counter(_grams(said, size)), Counter(_grams(wanted, size))
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(text: str, reference: str) -> float:
    """F1 over the longest common subsequence of words."""
    from rapidfuzz.distance import LCSseq

    said, wanted = _WORD.findall(text.lower()), _WORD.findall(reference.lower())
    return _f1(LCSseq.similarity(said, wanted), len(said), len(wanted))


METRICS: Final[dict[str, Callable[[str, str], float]]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    "rouge_1": lambda text, reference: rouge(text, reference, 1),
    "rouge_2": lambda text, reference: rouge(text, reference, 2),
    "rouge_3": lambda text, reference: rouge(text, reference, 3),
    "rouge_4": lambda text, reference: rouge(text, reference, 4),
    "rouge_5": lambda text, reference: rouge(text, reference, 5),
    "rouge_l": rouge_l,
}


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0


def _align(said: list[str], wanted: list[str]) -> list[tuple[int, int]]:
    """Positions of words that match, in order of the first text: same words first, then same stems.

    Equal words pair up from the end, as in NLTK.
    """
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for form in (str, stem):
        places: dict[str, list[int]] = {}
        for j, word in enumerate(wanted):
            if j not in taken:
                places.setdefault(form(word), []).append(j)
        for i in reversed(range(len(said))):
            if i not in pairs and (free := places.get(form(said[i]))):
                pairs[i] = free.pop()
                taken.add(pairs[i])
    return sorted(pairs.items())
