"""System prompts: empty, missing in some lines, or worded differently in a few; and nobody asking."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tailor.data.doctor.corpus import Corpus, counts_of
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.problems import lines_in_words


def find_system_prompts(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """System prompts that are not what the model will be served with."""
    if corpus.task.kind == "text":
        return
    systems = corpus.facts.system
    empty = np.array([key for key, text in corpus.systems.items() if not text.strip()], dtype=np.uint64)
    is_empty = np.isin(systems, empty)
    places = np.flatnonzero(is_empty)
    if len(places):
        lines = corpus.lines(places)
        said = f"the system prompt is empty ({lines_in_words(lines)})."
        remedy = "Leave the message out, or say what is wanted."
        yield from finding(
            [advice(None, "empty_system_prompt", said, remedy)],
            title="Empty system prompts",
            message=f"{counted(len(lines), 'system prompt')} of {len(corpus):,} empty.",
            why="The model learns from a form that it will not be asked in.",
            remedy=remedy,
            total=len(corpus),
            lines=lines,
        )
    rest = np.flatnonzero(~is_empty)
    kinds = counts_of(systems[rest])
    if len(kinds) < 2:
        return
    missing = rest[systems[rest] == 0]
    if len(missing):
        lines = corpus.lines(missing)
        said = f"some examples have no system prompt ({lines_in_words(lines)}), others have one."
        yield from finding(
            [advice(None, "system_prompt_missing", said, "Train with the prompts that you will serve with.")],
            title="Missing system prompts",
            message=f"{counted(len(lines), 'example')} of {len(corpus):,} without a system prompt.",
            why="The model answers best in the form it was trained in; two forms halve the examples of each.",
            remedy="Train with the prompts that you will serve with.",
            total=len(corpus),
            lines=lines,
        )
    usual = systems[rest[kinds[0][0]]]
    others = rest[(systems[rest] != usual) & (systems[rest] != 0)]
    if usual != 0 and len(others) and kinds[0][1] > 9 * len(others):
        lines = corpus.lines(others)
        said = f"the system prompt differs from the usual one in {lines_in_words(lines)}."
        yield from finding(
            [
                advice(
                    None,
                    "system_prompt_differs",
                    said,
                    "Use one system prompt, unless the difference is meant.",
                )
            ],
            title="Differing system prompts",
            message=f"{counted(len(lines), 'example')} with another system prompt than the usual one.",
            why="A few examples are too few to learn what the difference means.",
            remedy="Use one system prompt, unless the difference is meant.",
            total=len(corpus),
            lines=lines,
        )


def find_without_question(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Conversations in which nobody asks anything."""
    if corpus.task.kind == "text":
        return
    places = np.flatnonzero(~corpus.facts.has_question)
    said = "the conversation has no user message."
    yield from finding(
        [
            advice(line, "no_user_message", said, "Add what the answer answers.")
            for line in corpus.lines(places)
        ],
        title="Nobody asks",
        message=f"{counted(len(places), 'conversation')} without a user message.",
        why="The model learns to say this whatever it is asked.",
        remedy="Add what the answer answers.",
        total=len(corpus),
        badness=3,
    )
