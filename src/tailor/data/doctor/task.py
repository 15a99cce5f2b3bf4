"""What a file teaches: the same answer is too short in one task and right in another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal[
    "classification", "extraction", "tool calls", "free answers", "preference", "reinforcement", "text"
]

LABEL_CHARACTERS: Final = 40
"""Longest answer that can be the name of a class."""

Goal = Literal["format", "style", "domain", "behaviour"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a file teaches."""

    kind: Kind
    """The kind of answer that is wanted."""

    num_labels: int = 0
    """Classes, for a classification."""

    has_turns: bool = False
    """Whether conversations have more than one answer."""

    @property
    def has_one_right_answer(self) -> bool:
        """Whether a second, different answer to one question must be a mistake."""
        return self.kind in ("classification", "extraction", "tool calls")

    @property
    def goal(self) -> Goal:
        """What it is trained for, as far as its answers show (the amounts of data depend on it)."""
        if self.kind in ("classification", "extraction"):
            return "format"
        return "behaviour" if self.kind in ("tool calls", "reinforcement") else "style"

    def __str__(self) -> str:
        return {
            "classification": f"classification with {self.num_labels:,} "
            f"{'label' if self.num_labels == 1 else 'labels'}",
            "extraction": "extraction to JSON",
            "tool calls": "calling tools",
            "free answers": "conversations" if self.has_turns else "free answers",
            "preference": "preference pairs",
            "reinforcement": "prompts for reinforcement",
            "text": "plain text",
        }[self.kind]
