"""What every proof has, whatever it compares: the question, and how the items came out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tailor.data import Learnable
from tailor.evals import verdict
from tailor.evals.examined import Outcome, ProofMetric
from tailor.evals.items import Item
from tailor.protocol import Arm, Difference, Proof


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be proven, and on what."""

    base: str
    """Name of the base."""
    version: str
    """Name of the version."""
    held_out: Sequence[Learnable]
    """Examples that the version never learned from."""
    training: Sequence[Learnable]
    """Examples that it did learn from."""
    data: str
    """Where the held-out examples come from, for people."""
    file: str | None = None
    """Id of their file."""
    seed: int = 0
    """Decides which items are taken where there are more than `max_items`."""
    max_items: int = 400
    """Most held-out items that both models are asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Two models on the same items."""

    metric: ProofMetric
    base: Arm
    version: Arm
    difference: Difference
    outcomes: Sequence[Outcome]
    """What became of each item."""


def framed(question: Question, asked: Sequence[Item], found: Compared, **more: Any) -> Proof:
    """A proof; `more` are its fields that depend on what was compared."""
    return Proof(
        created_at=int(time.time()),
        model=question.version,
        base=question.base,
        data=question.data,
        file=question.file,
        num_items=len(asked),
        num_overlap=num_overlapping(question, asked),
        metric=found.metric,
        arms={"base": found.base, "version": found.version},
        difference=found.difference,
        fixed=found.outcomes.count("fixed"),
        broken=found.outcomes.count("broken"),
        unchanged=found.outcomes.count("unchanged"),
        verdict=verdict.sentence(found.base, found.version, found.difference, num_items=len(asked)),
        **more,
    )


def num_overlapping(question: Question, items: Sequence[Item]) -> int:
    """Held-out items that ask what training asks, too."""
    known = {example.prompt_key() for example in question.training}
    return sum(item.prompt_key in known for item in items)
