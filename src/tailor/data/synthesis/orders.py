"""What is asked of the teacher, one example at a time: a function of the brief and a number."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tailor.data.examples import Example

PERSONAS = (
    "a person in a hurry who writes as few words as possible",
    "a patient person who explains the whole story first",
    "somebody who is annoyed and says so",
    "a polite older person who is not used to writing on a computer",
    "somebody writing on a phone, with typing mistakes and no capitals",
    "an expert who uses the terms of the trade",
    "a newcomer who does not know the right words",
    "somebody whose first language is not the one they write in",
)
LENGTHS = ("one short sentence", "two or three sentences", "a paragraph", "a long message with side remarks")
DIFFICULTIES = (
    "plain: there is no doubt about the right answer",
    "harder: a detail that could mislead, but one right answer",
    "at the border: it takes care to see which answer is right",
)
_SHOTS = 3
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Brief:
    """What the new examples are for."""

    task: str
    """In words; empty where the seeds say it all."""

    seeds: tuple[Example, ...] = ()
    """Examples to go by."""

    labels: tuple[str, ...] = ()
    """Answers to be balanced over; empty where answers are free."""

    system: str | None = None
    """System prompt that the new rows carry."""

    personas: tuple[str, ...] = PERSONAS
    lengths: tuple[str, ...] = LENGTHS
    difficulties: tuple[str, ...] = DIFFICULTIES
    seed: int = 0
    """Source of all choices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One example to be written."""

    number: int
    """Counted from 0; with the brief it fixes everything but the label."""

    label: str | None
    """The answer that it must have."""

    persona: str
    length: str
    difficulty: str
    shots: tuple[Example, ...]
    """Seeds shown to the teacher."""


def next_orders(brief: Brief, *, first: int, count: int, accepted: Mapping[str | None, int]) -> list[Order]:
    """The next orders, numbered from `first`; the labels with fewest accepted examples come first."""
    have = Counter(accepted)
    orders = []
    for number in range(first, first + count):
        label = None
        if brief.labels:
            places = {each: place for place, each in enumerate(brief.labels)}
            label = min(brief.labels, key=lambda each: (have[each], places[each]))
            have[label] += 1
        orders.append(_order(brief, number, label))
    return orders


def _order(brief: Brief, number: int, label: str | None) -> Order:
    return Order(
        number=number,
        label=label,
        persona=_chosen(brief, number, "persona", brief.personas),
        length=_chosen(brief, number, "length", brief.lengths),
        difficulty=_chosen(brief, number, "difficulty", brief.difficulties),
        shots=_shots(brief, number, label),
    )


def _shots(brief: Brief, number: int, label: str | None) -> tuple[Example, ...]:
    """A few seeds, those with the label first."""

    def rank(seed: Example) -> tuple[bool, bytes]:
        is_other = label is not None and seed.reference().get("content") != label
        return is_other, _hash(brief, number, seed.fingerprint)

    return tuple(sorted(brief.seeds, key=rank)[:_SHOTS])


def _chosen(brief: Brief, number: int, what: str, values: Sequence[_Value]) -> _Value:
    return values[int.from_bytes(_hash(brief, number, what)[:8], "big") % len(values)]


def _hash(brief: Brief, number: int, what: str) -> bytes:
    return hashlib.sha256(f"{brief.seed}:{number}:{what}".encode()).digest()
