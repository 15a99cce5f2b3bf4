"""Answers without a language model: words and a linear model, rules, or what was answered before."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from tailor.advise.arms import Arm, ArmResult, SetUp, Shown
from tailor.advise.asking import telling
from tailor.advise.measure import Measure
from tailor.advise.passages import Passage
from tailor.advise.rules import learn_fields, learn_span
from tailor.advise.texts import Index
from tailor.data.doctor import Item
from tailor.data.doctor.format import plain_label

Tell = Callable[[Sequence[str]], list[str]]
"""From texts to answers."""

_STRENGTHS: Final = (0.3, 1.0, 3.0)
_VOTES: Final = 5
_TIMED: Final = 50


def fit(measure: Measure, train: Sequence[Item], development: Sequence[Item]) -> Tell | None:
    """The classical way to do such a task; None where there is none."""
    asked, answers = [item.asked for item in train], [item.answer for item in train]
    match measure.kind:
        case "classification":
            held = [item.asked for item in development], [item.answer for item in development]
            return linear(asked, _spelled(measure, answers), development=held, measure=measure)
        case "extraction":
            return learn_fields(asked, answers, linear)
        case "exact":
            span = learn_span(asked, answers)
            return lambda texts: [span(text) or "" for text in texts]
        case _:
            return None


def linear(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    development: tuple[Sequence[str], Sequence[str]] = ((), ()),
    measure: Measure | None = None,
) -> Tell:
    """TF-IDF of words, pairs of words and parts of words, and a linear model; its strength by development."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    if len({*labels}) < 2:
        only = labels[0]
        return lambda asked: [only] * len(asked)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")  # noqa: S106
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2)
    vectors = make_union(words, parts) if len(texts) <= 5_000 else words
    seen = vectors.fit_transform(texts)
    models = [LinearSVC(C=strength, random_state=0).fit(seen, labels) for strength in _STRENGTHS]
    best = models[1]
    if measure is not None and development[0]:
        held = vectors.transform(development[0])
        best = max(models, key=lambda model: sum(map(measure.score, model.predict(held), development[1])))
    return lambda asked: [str(label) for label in best.predict(vectors.transform(asked))] if asked else []


def lookup(measure: Measure, train: Sequence[Item]) -> Callable[[str], tuple[str, tuple[str, ...]]]:
    """The answer to the most similar example (of classes: what the nearest five say), and where it stands."""
    index = Index([item.asked for item in train])
    usual = Counter(item.answer for item in train).most_common(1)[0][0]

    def answer(text: str) -> tuple[str, tuple[str, ...]]:
        near = index.nearest(text, _VOTES if measure.kind == "classification" else 1)
        if not near:
            return (usual if measure.kind == "classification" else ""), ()
        votes: Counter[str] = Counter()
        for place, score in near:
            votes[train[place].answer] += score  # type: ignore[assignment]
        chosen = votes.most_common(1)[0][0]
        return chosen, tuple(
            f"line {train[place].line}" for place, _ in near if train[place].answer == chosen
        )

    return answer


def lookup_passage(passages: Sequence[Passage]) -> Callable[[str], tuple[str, tuple[str, ...]]]:
    """The passage of the documents that shares most with a text, word for word, and where it stands."""
    index = Index([f"{passage.source} {passage.text}" for passage in passages])

    def answer(text: str) -> tuple[str, tuple[str, ...]]:
        near = index.nearest(text, 1)
        if not near:
            return "", ()
        passage = passages[near[0][0]]
        return passage.text, (passage.source,)

    return answer


def measured(
    arm: Arm,
    answer: Callable[[str], tuple[str, tuple[str, ...]]],
    items: Sequence[Item],
    measure: Measure,
    *,
    setup_seconds: float,
    notes: Sequence[str] = (),
) -> ArmResult:
    """What answers one text at a time, as a result."""
    answers: list[str] = []
    sources: list[tuple[str, ...]] = []
    times: list[float] = []
    for item in items:
        started = time.perf_counter()
        text, found = answer(item.asked)
        times.append(time.perf_counter() - started)
        answers.append(text)
        sources.append(found)
    scores = tuple(measure.score(text, item.answer) for text, item in zip(answers, items, strict=True))
    shown = tuple(
        Shown(
            line=items[place].line,
            sent=({"role": "input", "content": items[place].asked},),
            answer=answers[place],
            expected=items[place].answer,
            score=scores[place],
            sources=sources[place],
        )
        for place in telling(scores)
    )
    return ArmResult(
        arm=arm,
        runs=(scores,),
        latencies_ms=tuple(1000 * seconds for seconds in times[:_TIMED]),
        seconds_per_request=sum(times) / len(times),
        setup=SetUp(seconds=setup_seconds),
        shown=shown,
        notes=tuple(notes),
    )


def one_by_one(tell: Tell) -> Callable[[str], tuple[str, tuple[str, ...]]]:
    """What tells many texts at once, asked for one."""
    return lambda text: (tell([text])[0], ())


def most_usual(measure: Measure, train: Sequence[Item], items: Sequence[Item]) -> tuple[float, ...]:
    """The scores of always giving the most usual answer: what any arm must beat."""
    counts = Counter(
        plain_label(item.answer) if measure.kind == "classification" else item.answer for item in train
    )
    usual = counts.most_common(1)[0][0]
    return tuple(measure.score(usual, item.answer) for item in items)


def _spelled(measure: Measure, answers: Sequence[str]) -> list[str]:
    """Labels in one spelling each."""
    spelling = {plain_label(label): label for label in measure.labels}
    return [spelling.get(plain_label(answer), answer) for answer in answers]
