"""Rows that say the same again, or the same question with another answer."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.similar import band_keys, comparing, leaders
from tailor.data.doctor.wording import loose_key, same_question
from tailor.data.fixing.choices import Contradictions
from tailor.data.fixing.drafts import Draft
from tailor.data.fixing.parts import Parts, parts_of, same_key

_BLOCK: Final = 2000
_CACHED: Final = 4096


def drop_duplicates(draft: Draft) -> None:
    """Keep the first of rows that are the same; ids and metadata do not count."""
    first: dict[bytes, int] = {}
    reasons: dict[int, str] = {}
    for place, row in enumerate(draft):
        key = hashlib.blake2b(same_key(row).encode(), digest_size=16).digest()
        original = first.setdefault(key, place)
        if original != place:
            reasons[place] = f"the same as line {draft.line(original)}"
    draft.drop(reasons, step="drop_duplicates")


def drop_near_duplicates(draft: Draft, *, threshold: float) -> None:
    """Keep the first of rows that ask nearly the same and are answered alike."""
    parts = lru_cache(_CACHED)(lambda place: parts_of(draft[place]))
    ask_alike = comparing(lambda place: parts(place).asked, threshold=threshold)
    answer_alike = comparing(lambda place: parts(place).answer, threshold=threshold)

    def are_alike(one: int, other: int) -> bool:
        mine: Parts = parts(one)
        theirs: Parts = parts(other)
        is_same = mine.meant == theirs.meant
        if not is_same and (mine.is_exact or theirs.is_exact or not answer_alike(one, other)):
            return False
        return ask_alike(one, other)

    found = leaders(bands_of((parts_of(row).asked for row in draft), threshold=threshold).T, are_alike)
    draft.drop(
        {
            place: f"nearly the same as line {draft.line(int(found[place]))}"
            for place in np.flatnonzero(found != np.arange(len(found))).tolist()
        },
        step="near_duplicates",
    )


def settle_contradictions(draft: Draft, choice: Contradictions, *, threshold: float) -> None:
    """Leave one answer, or none, to each question that has several."""
    reasons: dict[int, str] = {}
    for places in _same_questions(draft, threshold=threshold):
        answers = [parts_of(draft[place]).meant for place in places]
        if len(set(answers)) == 1:
            continue
        right = _right_answer(answers, choice)
        lines = ", ".join(str(draft.line(place)) for place in places[:8])
        for place, answer in zip(places, answers, strict=True):
            if answer != right:
                reasons[place] = f"lines {lines} ask the same and are answered differently ({choice.value})"
    draft.drop(reasons, step="contradictions")


def bands_of(texts: Iterable[str], *, threshold: float) -> Columns:
    """The MinHash keys of texts that need not be in memory together."""
    source = iter(texts)
    blocks = []
    while block := list(islice(source, _BLOCK)):
        blocks.append(band_keys(block, threshold=threshold))
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.uint32)


def _same_questions(draft: Draft, *, threshold: float) -> list[list[int]]:
    """Groups of rows that ask the same but for spelling, under the same system prompt and tools."""
    heads: dict[bytes, int] = {}
    head_of: list[int] = []
    for row in draft:
        parts = parts_of(row)
        # Without an answer of its own a row contradicts nobody: plain text, tasks for a grader.
        key = _hash(parts.frame, loose_key(parts.asked)) if parts.answer else _hash(str(len(head_of)), "")
        head_of.append(heads.setdefault(key, len(head_of)))
    kept = list(heads.values())
    look = lru_cache(_CACHED)(lambda row: parts_of(draft[kept[row]]))

    def ask_the_same(one: int, other: int) -> bool:
        mine: Parts = look(one)
        theirs: Parts = look(other)
        return mine.frame == theirs.frame and same_question(mine.asked, theirs.asked)

    found = leaders(
        bands_of((look(row).asked for row in range(len(kept))), threshold=threshold).T, ask_the_same
    )
    leader_of = {place: kept[int(lead)] for place, lead in zip(kept, found.tolist(), strict=True)}
    groups: dict[int, list[int]] = {}
    for place, head in enumerate(head_of):
        groups.setdefault(leader_of[head], []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def _right_answer(answers: list[str], choice: Contradictions) -> str | None:
    if choice is Contradictions.DROP:
        return None
    if choice is Contradictions.KEEP_FIRST:
        return answers[0]
    return Counter(answers).most_common(1)[0][0]  # of equally frequent ones the first


def _hash(*texts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(len(text).to_bytes(8, "big") + text.encode("utf-8", "surrogatepass"))
    return digest.digest()
