"""The optimised prompt: a bounded, seeded search over instructions and examples, on the development items.

Successive halving (K. Jamieson and A. Talwalkar, AISTATS 2016): all candidates on a few items, the better
third on more, the best two on all. The held-out items have no part in it.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from tailor.advise.arms import Arm, Progress
from tailor.advise.asking import Answered, Asking, ask
from tailor.advise.measure import Measure
from tailor.advise.prompts import Prompt, diverse, form_named, labels_described, similar
from tailor.data.doctor import Item

CANDIDATES: Final = 12
_RUNGS: Final = ((CANDIDATES, 10), (4, 25), (2, 80))
"""How many candidates are asked how many items at most; of the last the better one is taken."""

_COUNTS: Final = (0, 2, 4, 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One prompt of the search."""

    words: str
    """What it is, for people."""

    prompt: Prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the search came to."""

    best: Candidate
    score: float
    """On the development items of the last rung."""

    num_requests: int
    """Asked in all."""

    tried: tuple[tuple[str, float, int], ...]
    """Each candidate with its last score and on how many items."""


def candidates(measure: Measure, train: Sequence[Item], *, room_tokens: int, seed: int) -> list[Candidate]:
    """Instructions crossed with sets of examples, so many of them as the bound allows."""
    instructions = {"": "as it is"}
    if named := form_named(measure, train):
        instructions[named] = "form named"
    if measure.kind == "classification":
        instructions[labels_described(measure, train)] = "labels described"
    if measure.kind == "text":
        length = round(fmean(len(item.answer.split()) for item in train))
        instructions[f"Answer in about {length} words, as the examples do."] = "length named"
    instructions["Think of what the sender wants, then give the answer and nothing else."] = "answer alone"
    built = []
    for instruction, words in instructions.items():
        for count in _COUNTS:
            base = Prompt(instruction=instruction, room_tokens=room_tokens)
            if not count:
                built.append(Candidate(words=f"{words}, no examples", prompt=base))
                continue
            for kind, choose in (
                ("similar", similar(train, count)),
                ("diverse", diverse(train, measure, count)),
            ):
                built.append(
                    Candidate(words=f"{words}, {count} {kind} examples", prompt=replace(base, choose=choose))
                )
    random.Random(seed).shuffle(built)  # noqa: S311 - no secret
    return built[:CANDIDATES]


def most_requests(num_development: int) -> int:
    """How many requests a search makes at most."""
    return sum(count * min(items, num_development) for count, items in _RUNGS)


def search(
    asking: Asking,
    built: Sequence[Candidate],
    development: Sequence[Item],
    measure: Measure,
    *,
    arm: Arm,
) -> Generator[Progress, None, Found]:
    """The candidate that does best on the development items."""
    left = list(built)
    scores: dict[str, tuple[float, int]] = {}
    asked = 0
    for count, items in _RUNGS:
        part, left = development[:items], left[:count]
        for place, candidate in enumerate(left):
            answered = _finish(ask(asking, candidate.prompt, part, arm=arm, alone=0))
            pairs = zip(answered.texts, part, strict=True)
            score = fmean(measure.score(text, item.answer) for text, item in pairs)
            scores[candidate.words] = score, len(part)
            asked += len(part)
            yield Progress(arm=arm, done=0.6 * (place + 1) / len(left), what=f"trying {len(left)} prompts")
        left.sort(key=lambda candidate: -scores[candidate.words][0])
        if scores[left[0].words][0] == 0:
            break  # nothing is right with any of them
    return Found(
        best=left[0],
        score=scores[left[0].words][0],
        num_requests=asked,
        tried=tuple((words, score, count) for words, (score, count) in scores.items()),
    )


def _finish(work: Generator[Progress, None, Answered]) -> Answered:
    """What a generator comes to, its own progress left out."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: Answered = end.value
            return found
