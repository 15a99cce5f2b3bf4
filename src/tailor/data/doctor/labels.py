"""Labels that are probably wrong: confident learning with a cheap linear model, cross-validated.

The model is ridge regression from hashed words to one column a class, which estimates the probability of
each class given the text. It is fitted in closed form on the sums of a corpus, so that leaving out a fold
is a subtraction, blocks can be summed anywhere, and the result depends on no order. A label is suspicious
where, judged by examples it was not fitted on, another class is at least as probable as it is for the
examples that bear it (Northcutt, Jiang, Chuang 2021); the widest gap comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tailor.data.doctor.columns import Columns, first_of
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options

NUM_FEATURES: Final = 2_048
FIT_ON: Final = 100_000
"""Examples that the model is fitted on at most; all are judged."""

_FOLDS: Final = 5
_RIDGE: Final = 1.0
_MOST_CHARACTERS: Final = 2_000
_BLOCK: Final = 20_000
_MOST_LABELS: Final = 1_000
_LEAST_EXAMPLES: Final = 50
_LEAST_SKILL: Final = 0.4
"""How far above always naming the commonest label the model must be, of what there is to gain."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model holds of every label."""

    gap: Columns
    """How much more probable the best other class is than the label; negative where the label is best."""

    better: Columns
    """The best other class."""

    is_confident: Columns
    """Whether the other class is as probable as for those who bear it."""

    agreement: float
    """Share of the labels that the model would give too."""


def judge(texts: Any, labels: Columns, *, num_labels: int, seed: int) -> Judgement:
    """Judge each label by a model that was not fitted on it.

    `texts` is a sequence of texts, `labels` the number of each one's class.
    """
    count = len(labels)
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, _FOLDS, count)
    if count > FIT_ON:
        fold[rng.permutation(count)[FIT_ON:]] = _FOLDS  # judged by all folds' model, fitted on by none
    grams, hits = _sums(texts, labels, fold, num_labels)
    weights = [_solve(grams, hits, without) for without in range(_FOLDS + (count > FIT_ON))]
    scores_of = _Scores(count, num_labels)
    for start in range(0, count, _BLOCK):
        block = slice(start, min(start + _BLOCK, count))
        words = _words(texts[block])
        for without, weight in enumerate(weights):
            mine = np.flatnonzero(fold[block] == without)
            if len(mine):
                scores_of.add(start + mine, words[mine] @ weight, labels[start + mine])
    return scores_of.judgement(labels)


def find_suspicious_labels(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Labels that a cheap model, fitted on the other examples, would not give."""
    if corpus.task.kind != "classification" or not 2 <= corpus.task.num_labels <= _MOST_LABELS:
        return
    if len(corpus) < _LEAST_EXAMPLES:
        return
    values, first, labels = np.unique(corpus.facts.label, return_index=True, return_inverse=True)
    names = [corpus.answers[place].strip() for place in first.tolist()]
    found = judge(_Asked(corpus), labels, num_labels=len(values), seed=options.seed)
    yield Figure(name="labels", data={"agreement": round(found.agreement, 4)})
    commonest = float(np.bincount(labels).max() / len(labels))
    if found.agreement - commonest < _LEAST_SKILL * (1 - commonest):
        return  # the words do not tell the labels, so the model's doubts say nothing
    # Contradicting twins are told of elsewhere; here the model would only be torn between them.
    twins = first_of(corpus.facts.prompt)
    torn = np.zeros(len(corpus), dtype=bool)
    np.logical_or.at(torn, twins, corpus.facts.label != corpus.facts.label[twins])
    places = np.flatnonzero(found.is_confident & (found.gap > 0) & ~torn[twins])
    places = places[np.argsort(-found.gap[places], kind="stable")]
    remedy = "Read these lines, the first ones first, and correct the labels that are wrong."
    problems = [
        advice(
            corpus.line(place),
            "suspicious_label",
            f"the label is {names[labels[place]][:40]!a}; the other examples speak for "
            f"{names[int(found.better[place])][:40]!a}.",
            "Read it, and correct the label if it is wrong.",
        )
        for place in places[:200].tolist()
    ]
    yield from finding(
        problems,
        title="Suspicious labels",
        message=f"{counted(len(places), 'label')} of {len(corpus):,} that a simple model, fitted on the "
        f"other examples, would not give; it agrees with {found.agreement:.1%} of all labels.",
        why="A few per cent of wrong labels cost more than as many examples; most hide among right ones.",
        remedy=remedy,
        total=len(corpus),
        lines=corpus.lines(places),
        num_problems=len(places),
        badness=4,
    )


class _Asked:
    """What the examples ask, as a sequence."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __getitem__(self, block: slice) -> list[str]:
        return [self._corpus.asked[place][:_MOST_CHARACTERS] for place in range(block.start, block.stop)]


class _Scores:
    """Keeps of each row of scores only what the judgement needs."""

    def __init__(self, count: int, num_labels: int) -> None:
        self._own = np.zeros(count, dtype=np.float32)
        self._best = np.zeros(count, dtype=np.float32)
        self._other = np.zeros(count, dtype=np.int32)
        self._sums = np.zeros(num_labels)
        self._counts = np.zeros(num_labels)

    def add(self, places: Columns, scores: Columns, labels: Columns) -> None:
        rows = np.arange(len(places))
        own = scores[rows, labels].copy()
        scores[rows, labels] = -np.inf
        self._own[places] = own
        self._other[places] = scores.argmax(axis=1)
        self._best[places] = scores.max(axis=1)
        self._sums += np.bincount(labels, weights=own, minlength=len(self._sums))
        self._counts += np.bincount(labels, minlength=len(self._counts))

    def judgement(self, labels: Columns) -> Judgement:
        usual = self._sums / np.maximum(self._counts, 1)
        gap = self._best - self._own
        return Judgement(
            gap=gap,
            better=self._other,
            is_confident=self._best >= usual[self._other],
            agreement=float((gap < 0).mean()),
        )


def _words(texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer  # a second to import

    vectorizer = HashingVectorizer(
        n_features=NUM_FEATURES,
        ngram_range=(1, 2),
        token_pattern=r"\w+",  # noqa: S106 - no password
        dtype=np.float32,
    )
    return vectorizer.transform(texts)


def _sums(texts: Any, labels: Columns, fold: Columns, num_labels: int) -> tuple[Columns, Columns]:
    """For each fold the products of the words with themselves, and with the classes."""
    grams = np.zeros((_FOLDS, NUM_FEATURES, NUM_FEATURES), dtype=np.float32)
    hits = np.zeros((_FOLDS, NUM_FEATURES, num_labels), dtype=np.float32)
    for start in range(0, len(labels), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(labels)))
        if not (fold[block] < _FOLDS).any():
            continue
        words = _words(texts[block])
        for each in range(_FOLDS):
            mine = np.flatnonzero(fold[block] == each)
            part, answers = words[mine], labels[start + mine]
            grams[each] += (part.T @ part).toarray()
            one_hot = np.zeros((len(mine), num_labels), dtype=np.float32)
            one_hot[np.arange(len(mine)), answers] = 1.0
            hits[each] += part.T @ one_hot
    return grams, hits


def _solve(grams: Columns, hits: Columns, without: int) -> Columns:
    """The weights fitted on all folds but one."""
    from scipy.linalg import cho_factor, cho_solve

    kept = [each for each in range(_FOLDS) if each != without]
    gram = grams[kept].sum(axis=0, dtype=np.float64)
    gram[np.diag_indices_from(gram)] += _RIDGE
    found: Columns = cho_solve(cho_factor(gram, overwrite_a=True), hits[kept].sum(axis=0, dtype=np.float64))
    return found.astype(np.float32)
