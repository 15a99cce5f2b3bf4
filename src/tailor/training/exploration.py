"""How a model learns by trying: answers to a prompt, their rewards, and what a reward is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

LOSSES = ("dapo", "dr_grpo", "grpo", "rloo")
AUTO_GROUP_SIZE = 8
MAX_GROUP_SIZE = 64
AUTO_ANSWER_TOKENS = 256
NUM_LOOKS = 10
"""How often the validation prompts are answered in a whole run, unless the caller says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploration:
    """The part of a recipe that only reinforcement has."""

    loss: str = "dr_grpo"
    """What a reward counts for each token, one of `LOSSES`; see `reinforcement`."""

    kl: float = 0.0
    """Price of leaving the model that training started from, per nat."""

    clip_low: float = 0.2
    """A token's share may fall by this part before its reward stops counting, within one batch."""

    clip_high: float = 0.28
    """A token's share may rise by this part; more than it may fall, so that rare tokens get a chance."""

    group_size: int = AUTO_GROUP_SIZE
    """Answers to each prompt, which are compared with each other."""

    temperature: float = 1.0
    """At which answers are drawn, and at which the likelihood of their tokens is taken."""

    max_tokens: int = AUTO_ANSWER_TOKENS
    """Longer answers are cut off."""

    num_updates: int = 1
    """Optimiser updates on one batch of answers; from the second on they are no longer the model's own."""

    mask_truncated: bool = False
    """Answers that were cut off teach nothing, instead of what their grade says."""

    eval_interval: int = 1
    """Steps between two looks at the validation prompts."""

    eval_samples: int = 1
    """Answers to each validation prompt."""

    @classmethod
    def auto(cls, wanted: Mapping[str, Any], *, num_steps: int, context_length: int) -> Exploration:
        """Resolve what the caller left open.

        `wanted` has our own names, and `compute_multiplier`, which scales the group.
        """
        names = {field.name for field in fields(cls)}
        given = {name: value for name, value in wanted.items() if name in names and value is not None}
        size = round(AUTO_GROUP_SIZE * (wanted.get("compute_multiplier") or 1.0))
        auto: dict[str, Any] = {
            "group_size": min(MAX_GROUP_SIZE, max(2, size)),
            "max_tokens": min(AUTO_ANSWER_TOKENS, context_length // 2),
            "eval_interval": max(1, num_steps // NUM_LOOKS),
        }
        return cls(**(auto | given))
