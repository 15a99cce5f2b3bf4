"""The same question, or nearly the same words, with different answers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np

from tailor.data.doctor.columns import Columns, first_of
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.duplicates import signed_text
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.doctor.similar import leaders
from tailor.data.doctor.wording import content_words, same_question, same_words
from tailor.data.problems import lines_in_words

_MOST_COMPARED: Final = 50
"""Members of a group whose answers are compared."""

_BY_DESIGN: Final = 0.3
"""Share of questions with several answers from which on several answers are what the file is about."""


def find_contradictions(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Questions that are asked twice, in the same or nearly the same words, with different answers."""
    if corpus.task.kind in ("text", "reinforcement"):
        return
    facts = corpus.facts
    exact = first_of(facts.prompt)
    yield from _conflicts(corpus, exact, exact, is_near=False)
    if not facts.bands:
        return
    words = lru_cache(maxsize=4096)(lambda place: content_words(signed_text(corpus, place)))
    loose = _same_letters(corpus, first_of(facts.loose))
    heads = np.flatnonzero(loose == np.arange(len(corpus)))
    lead = leaders(
        facts.bands,
        lambda one, other: (
            bool(facts.system[heads[one]] == facts.system[heads[other]])
            and same_words(words(int(heads[one])), words(int(heads[other])))
        ),
        rows=heads,
    )
    # A place is led by the leader of the first place that asks the same but for punctuation.
    leader_of_head = np.arange(len(corpus))
    leader_of_head[heads] = heads[lead]
    yield from _conflicts(corpus, leader_of_head[loose], exact, is_near=True)


def _same_letters(corpus: Corpus, first: Columns) -> Columns:
    """`first`, but only within one system prompt."""
    systems = corpus.facts.system
    found: Columns = np.where(systems[first] == systems, first, np.arange(len(first)))
    return found


def _conflicts(corpus: Corpus, lead: Columns, exact: Columns, *, is_near: bool) -> Iterator[Evidence]:
    """A finding for the groups that hold more than one answer."""
    # The label is the answer with spelling set aside: a spelling is no contradiction.
    right = corpus.task.has_one_right_answer
    answers = corpus.facts.label if right else corpus.facts.answer
    groups: dict[int, list[int]] = {}
    differs = np.zeros(len(corpus), dtype=bool)
    np.logical_or.at(differs, lead, answers != answers[lead])
    for place in np.flatnonzero(differs[lead]).tolist():
        groups.setdefault(int(lead[place]), []).append(place)
    if is_near:
        groups = {
            head: places for head, places in groups.items() if _goes_beyond(corpus, places, exact, answers)
        }
    places = sorted(place for group in groups.values() for place in group)
    by_design = not right and len(groups) > _BY_DESIGN * len(np.unique(lead))
    code = "several_answers" if by_design else "near_contradiction" if is_near else "contradiction"
    how = "nearly the same" if is_near else "the same"
    remedy = "Decide on one answer, or add what makes the difference to the prompts."
    problems = []
    for group in groups.values():
        lines = corpus.lines(np.array(group))
        said = f"{lines_in_words(lines)} ask {how} and are answered differently."
        problems.append(advice(lines[0], code, said, remedy))
    noun = "question has" if len(groups) == 1 else "questions have"
    yield from finding(
        problems,
        title="Several answers to a question"
        if by_design
        else f"{'Near c' if is_near else 'C'}ontradictions",
        message=f"{len(groups):,} {noun} different answers"
        f"{' in nearly the same words' if is_near else ''} ({counted(len(places), 'line')}).",
        why="Where wording is free several answers are right; the model learns a mixture of them."
        if by_design
        else "The model cannot learn both; it learns to waver, and any measure counts one as wrong.",
        remedy="Nothing, if all of them are right." if by_design else remedy,
        total=len(corpus),
        lines=corpus.lines(np.array(places, dtype=np.int64)),
        badness=0.5 if by_design else 10 if right else 4,
    )


def _goes_beyond(corpus: Corpus, places: list[int], exact: Columns, answers: Columns) -> bool:
    """Whether a group has a conflict between questions that are not word for word the same.

    An answer that quotes the question may carry its spelling along: that is no conflict.
    """
    kinds = {(int(exact[place]), int(answers[place])): place for place in places[:_MOST_COMPARED]}
    return any(
        one[0] != other[0]
        and one[1] != other[1]
        and not same_question(corpus.answers[place], corpus.answers[other_place])
        for (one, place), (other, other_place) in combinations(kinds.items(), 2)
    )
