"""What a check can be told beside the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tailor.data.doctor.task import Goal

if TYPE_CHECKING:
    from tailor.data.doctor.losses import Losses

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""How many tokens each text has."""


Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts to vectors, one each."""


def estimate_tokens(texts: Sequence[str]) -> list[int]:
    """A quarter of the characters: near enough for English, too few for most other scripts."""
    return [(len(text) + 3) // 4 for text in texts]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCount:
    """How tokens are counted."""

    name: str = "estimate: characters / 4"
    """The tokenizer's name, for people."""

    count: CountTokens = estimate_tokens
    """Of texts, without what the chat template adds."""

    per_message: int = 5
    """What the chat template adds to a message."""

    context: int | None = None
    """Tokens that an example may have; what is beyond is cut off. None: no model in view."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """What twice the data would bring, by a learning curve on this task."""

    sentence: str
    """For people."""

    low: float
    """Of quality, 0 to 1; the truth is below it in 2.5 of 100 cases."""

    high: float
    """The truth is above it in 2.5 of 100 cases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the checks go by."""

    tokens: TokenCount = field(default_factory=TokenCount)
    """How long texts are for the model."""

    near: float = 0.8
    """How alike two texts must be to be near copies, from 0 to 1."""

    goal: Goal | None = None
    """What the model is trained for; None: by its answers."""

    epochs: int = 3
    """Passes over the file."""

    embed: Embed | None = None
    """A model that turns texts into vectors; None: likeness goes by words alone."""

    same_meaning: float = 0.9
    """Cosine, the mean of the file taken out, from which two texts mean the same."""

    gain: Gain | None = None
    """Measured; None: rules of thumb say how many examples are enough."""

    losses: Losses | None = None
    """What a job found of each example after it had trained on it."""

    seed: int = 0
    """Of samples and folds."""
