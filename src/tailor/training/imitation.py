"""How a student learns from a teacher's distribution over the next token, and on whose answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

AUTO_ANSWER_TOKENS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Imitation:
    """The part of a recipe that only distillation from a teacher's logits has."""

    teacher: str
    """Digest of the teacher's weights."""

    beta: float = 0.0
    """Which divergence: 0 is forward KL, 1 reverse KL, between them Jensen-Shannon; see `divergence`.

    Forward KL, because the others hardly move a student that gives no weight yet to what the teacher says:
    their slope at a token is in proportion to the student's own share of it (measured, docs/distillation.md).
    """

    temperature: float = 1.0
    """By which both models' logits are divided."""

    own_share: float = 0.0
    """Share of the answers that the student writes itself, with the weights as they are (on-policy)."""

    sampling_temperature: float = 1.0
    """At which the student draws them."""

    max_tokens: int = AUTO_ANSWER_TOKENS
    """Of an answer that the student writes."""

    @classmethod
    def auto(
        cls, wanted: Mapping[str, Any], *, teacher: str, has_answers: bool, context_length: int
    ) -> Imitation:
        """Resolve what the caller left open: where there is no answer to learn from, the student writes."""
        names = {field.name for field in fields(cls)}
        given = {name: value for name, value in wanted.items() if name in names and value is not None}
        auto: dict[str, Any] = {
            "own_share": 0.0 if has_answers else 1.0,
            "max_tokens": min(AUTO_ANSWER_TOKENS, context_length // 2),
        }
        return cls(teacher=teacher, **(auto | given))
