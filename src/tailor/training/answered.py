"""What items of a step have in common that are one conversation each."""

from __future__ import annotations

from dataclasses import dataclass

from tailor.training.batches import TokenizedExample


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answered:
    """An item that is one conversation, with what is known of it beside."""

    line: int
    """Line of the training file, from 1."""

    fingerprint: str
    """Identity of the item, wherever it stands in the file."""

    example: TokenizedExample
    """Prompt and answer."""

    @property
    def sequences(self) -> tuple[TokenizedExample, ...]:
        """Prompt and answer as one."""
        return (self.example,)

    @property
    def num_tokens(self) -> int:
        """Of both."""
        return self.example.num_tokens

    @property
    def total_weight(self) -> float:
        """Answer tokens."""
        return self.example.total_weight
