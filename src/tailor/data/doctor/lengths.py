"""Lengths: messages too short to say anything, examples too long for the model, tokens of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, Figure, Tokens, advice, counted, finding
from tailor.data.doctor.options import Options

_SHORT_QUESTION: Final = 10
_SHORT_ANSWER: Final = 50
_LONG_TIMES: Final = 10
_BINS: Final = 40


def tokens_of(corpus: Corpus, options: Options) -> Tokens:
    """The lengths of a corpus in tokens."""
    tokens = corpus.facts.tokens
    return Tokens(
        counted_with=options.tokens.name,
        context=options.tokens.context,
        total=int(tokens.sum(dtype=np.int64)),
        learnt=int(corpus.facts.answer_tokens.sum(dtype=np.int64)),
        median=int(np.median(tokens)),
        longest=int(tokens.max()),
        epochs=options.epochs,
    )


def find_short(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Questions and answers much shorter than usual here. Where answers are labels, short is right."""
    facts, kind = corpus.facts, corpus.task.kind
    yield Figure(
        name="lengths",
        data={
            "asked": _histogram(facts.tokens - facts.answer_tokens),
            "answered": _histogram(facts.answer_tokens),
            "context": options.tokens.context,
        },
    )
    if kind == "text":
        return
    usual = float(np.median(facts.question_chars))
    if usual >= 2 * _SHORT_QUESTION:
        places = np.flatnonzero(facts.question_chars < _SHORT_QUESTION)
        yield from finding(
            [
                advice(
                    corpus.line(place),
                    "short_message",
                    f"the user message has {length} characters." if length else "the user message is empty.",
                    "See that nothing is missing.",
                )
                for place in places.tolist()
                for length in [int(facts.question_chars[place])]
            ],
            title="Short questions",
            message=f"{counted(len(places), 'question')} under {_SHORT_QUESTION} characters, "
            f"where {usual:.0f} are usual.",
            why="What is asked may be missing; then the model learns to guess.",
            remedy="See that nothing is missing.",
            total=len(corpus),
        )
    usual = float(np.median(facts.answer_chars))
    if kind not in ("free answers", "preference") or usual < 2 * _SHORT_ANSWER:
        return
    places = np.flatnonzero((facts.answer_chars < _SHORT_ANSWER) & ~facts.calls_tools)
    yield from finding(
        [
            advice(
                corpus.line(place),
                "short_answer",
                f"the answer has {int(facts.answer_chars[place])} characters where {usual:.0f} are usual.",
                "Give the whole answer.",
            )
            for place in places.tolist()
        ],
        title="Short answers",
        message=f"{counted(len(places), 'answer')} under {_SHORT_ANSWER} characters, "
        f"where {usual:.0f} are usual.",
        why="Short answers among long ones teach the model to stop early.",
        remedy="Give the whole answer, or leave the line out.",
        total=len(corpus),
        badness=2,
    )


def find_long(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Examples that the model cannot hold whole, or that dwarf the others."""
    tokens, context = corpus.facts.tokens, options.tokens.context
    if context is not None:
        places = np.flatnonzero(tokens > context)
        yield from finding(
            [
                advice(
                    corpus.line(place),
                    "truncated",
                    f"the example has about {int(tokens[place]):,} tokens; the model holds {context:,}.",
                    "Shorten it, or split it into several examples.",
                )
                for place in _longest_first(places, tokens)
            ],
            title="Cut off at the context",
            message=f"{counted(len(places), 'example')} of {len(corpus):,} longer than the {context:,} "
            f"tokens of the model.",
            why="What is beyond is cut off, and the answer stands at the end: it may never be learnt.",
            remedy="Shorten these examples, or split them; or take a base with a longer context.",
            total=len(corpus),
            lines=corpus.lines(places),
            num_problems=len(places),
            badness=8,
        )
    usual = float(np.median(tokens))
    long = np.flatnonzero(tokens > max(_LONG_TIMES * usual, 200))
    if context is not None:
        long = long[tokens[long] <= context]
    if len(long) > 0.02 * len(corpus):
        return  # no outliers: lengths simply vary here
    yield from finding(
        [
            advice(
                corpus.line(place),
                "long_example",
                f"the example has about {int(tokens[place]):,} tokens where {usual:.0f} are usual here.",
                "See that it is one example.",
            )
            for place in _longest_first(long, tokens)
        ],
        title="Very long examples",
        message=f"{counted(len(long), 'example')} more than {_LONG_TIMES} times as long as usual.",
        why="Often several examples run together, or a page pasted whole; it weighs as much as ten others.",
        remedy="See that each is one example.",
        total=len(corpus),
        lines=corpus.lines(long),
        num_problems=len(long),
    )


def _longest_first(places: Columns, tokens: Columns) -> list[int]:
    found: list[int] = places[np.argsort(-tokens[places].astype(np.int64), kind="stable")][:20].tolist()
    return found


def _histogram(values: Columns) -> dict[str, Any]:
    """Counts in equal steps up to the 99th percentile; the last bin holds all that is longer."""
    top = max(float(np.percentile(values, 99)), 1.0)
    step = max(1, int(np.ceil((top + 1) / _BINS)))
    bins = np.minimum(values.astype(np.int64) // step, _BINS - 1)
    counts = np.bincount(bins, minlength=1).tolist()
    return {"step": step, "counts": counts, "median": float(np.median(values)), "longest": int(values.max())}
