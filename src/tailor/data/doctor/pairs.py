"""Preference pairs: what tells the better answers from the worse besides being better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from tailor.data.doctor.columns import first_of
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.examine import hash_of
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options

_HABIT: Final = 0.75


def find_pair_habits(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Better answers that are nearly always the longer ones, and pairs that say the opposite of others."""
    if corpus.task.kind != "preference":
        return
    rejected = np.array([len(text) for text in corpus.rejected])
    preferred = corpus.facts.answer_chars.astype(np.int64)
    longer, shorter = int((preferred > rejected).sum()), int((preferred < rejected).sum())
    yield Figure(
        name="pairs", data={"preferred_longer": longer, "preferred_shorter": shorter, "pairs": len(corpus)}
    )
    share = max(longer, shorter) / len(corpus)
    if share > _HABIT:
        which = "longer" if longer > shorter else "shorter"
        said = f"in {share:.0%} of the pairs the preferred answer is the {which} one."
        remedy = "Add pairs in which it is the other way round."
        yield from finding(
            [advice(None, "length_habit", said, remedy)],
            title="Length gives the better answer away",
            message=said.capitalize(),
            why=f"Preferring what is {which} is the easiest rule that fits; answers will only get {which}.",
            remedy=remedy,
            total=len(corpus),
            badness=2,
        )
    yield from _opposites(corpus)


def _opposites(corpus: Corpus) -> Iterator[Evidence]:
    facts = corpus.facts
    worse = np.array([hash_of(text) for text in corpus.rejected], dtype=np.uint64)
    seen: dict[tuple[int, int, int], int] = {}
    problems = []
    prompts = first_of(facts.prompt).tolist()
    remedy = "Decide which is better, and keep one of the two."
    for place, (prompt, better, other) in enumerate(
        zip(prompts, facts.answer.tolist(), worse.tolist(), strict=True)
    ):
        opposite = seen.get((prompt, other, better))
        if opposite is not None:
            said = f"line {corpus.line(opposite)} prefers the answer that is rejected here."
            problems.append(advice(corpus.line(place), "opposite_pair", said, remedy))
        seen.setdefault((prompt, better, other), place)
    yield from finding(
        problems,
        title="Opposite preferences",
        message=f"{counted(len(problems), 'pair')} say the opposite of an earlier one.",
        why="The two cancel out and cost training time.",
        remedy=remedy,
        total=len(corpus),
        badness=5,
    )
