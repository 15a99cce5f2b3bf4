"""Answers that decline, and answers that talk about being an assistant instead of answering."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np

from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Options

_REFUSAL: Final = re.compile(
    r"\W*(?:(?:i'?m|i am) (?:very |really |so |afraid )?(?:sorry|afraid),? (?:but|i|that)\b.{0,40}?"
    r"\b(?:can'?t|cannot|can not|unable|won'?t|not able)"
    r"|(?:sorry|unfortunately|i apologi[sz]e),? (?:but )?i(?: can'?t| cannot| can not| won'?t"
    r"|(?:'m| am) (?:unable|not able|not allowed))"
    r"|i (?:can'?t|cannot|can not|won'?t|will not|must decline to)"
    r" (?:help|assist|answer|comply|provide|do|discuss|create|fulfil|write|share|engage)"
    r"|i(?:'m| am) (?:unable|not able|not allowed|not programmed) to"
    r"|as an? (?:ai|artificial|large language|language)\b)",
    re.IGNORECASE | re.DOTALL,
)
_HEDGE: Final = re.compile(
    r"\bas an? (?:ai|large language model|language model)\b"
    r"|\bas of my (?:last|latest|knowledge) |\bmy (?:knowledge|training) (?:cut-?off|data)\b"
    r"|\bi (?:don't|do not) have (?:access to (?:real[- ]time|the internet|current)"
    r"|personal (?:opinions|feelings|experiences))"
    r"|\bi'?m (?:just |only )?an? (?:ai|language model|chatbot|virtual assistant)\b"
    r"|\bi(?:'m| am) not (?:entirely |quite |completely )?(?:sure|certain) (?:if|about|what|whether|but)\b"
    r"|\bit(?: is|'s) (?:always )?(?:best|important|advisable) to consult (?:with )?an?\b"
    r"|\bi hope this helps\b",
    re.IGNORECASE,
)
REFUSES: Final = 1
HEDGES: Final = 2


def manner_of(answer: str) -> int:
    """REFUSES, HEDGES, or 0 for an answer that answers."""
    if _REFUSAL.match(answer):
        return REFUSES
    return HEDGES if len(answer) > 15 and _HEDGE.search(answer) else 0


def find_refusals(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Answers that decline to answer."""
    places = np.flatnonzero(corpus.facts.manner == REFUSES)
    said = "the answer is a refusal, and refusing would be learned."
    remedy = "Remove the line unless refusing is wanted."
    yield from finding(
        [advice(line, "refusal", said, remedy) for line in corpus.lines(places)],
        title="Refusals",
        message=f"{counted(len(places), 'answer')} of {len(corpus):,} decline to answer.",
        why="A few hundred refusals teach a model to refuse harmless questions too.",
        remedy="Remove these lines, unless refusing is what you want to teach.",
        total=len(corpus),
        badness=3,
    )


def find_hedges(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Answers that speak of the assistant and its limits."""
    places = np.flatnonzero(corpus.facts.manner == HEDGES)
    said = "the answer talks about what the assistant is or does not know."
    remedy = "Cut the phrase out of the answer."
    yield from finding(
        [advice(line, "hedge", said, remedy) for line in corpus.lines(places)],
        title="Hedges",
        message=f"{counted(len(places), 'answer')} of {len(corpus):,} talk about being an assistant.",
        why="Such phrases are the easiest thing to learn; the tuned model says them everywhere.",
        remedy="Cut the phrases out of the answers.",
        total=len(corpus),
        badness=2,
    )
