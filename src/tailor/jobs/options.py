"""The part of a job's `tailor` object that is about the job, not about training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tailor.errors import InvalidRequest

_DEFAULT_SHARE = 0.1
_DEFAULT_MAXIMUM = 200
_LEAST = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOptions:
    """What a job does around training."""

    hold_out: float | None = None
    """How much of the training file is kept aside for the proof when there is no validation file: a share
    below 1, or a number of examples; 0 keeps nothing; None is a tenth, from 2 up to 200 examples."""

    proof_items: int = 400
    """Most held-out examples that both models are asked."""

    example_losses: bool | None = None
    """Whether each training example's loss is written to a file; None: unless there are very many."""

    canaries: str | None = None
    """Id of a file of cases that must not break: both models are asked; breaking them blocks promotion."""

    training: Mapping[str, Any] = field(default_factory=dict)
    """Everything else, for `training.Wanted`."""

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> JobOptions:
        """Read a request's `tailor` object; raises InvalidRequest naming the field."""
        rest = dict(options)
        hold_out, proof_items = rest.pop("hold_out", None), rest.pop("proof_items", None)
        example_losses, canaries = rest.pop("example_losses", None), rest.pop("canaries", None)
        if example_losses is not None and not isinstance(example_losses, bool):
            raise InvalidRequest(
                f"example_losses is {example_losses!r}, but must be true or false.",
                param="tailor.example_losses",
            )
        if hold_out is not None and not _is_amount(hold_out):
            raise InvalidRequest(
                f"hold_out is {hold_out!r}, but must be 0, a share below 1, or a whole number of examples.",
                param="tailor.hold_out",
            )
        if proof_items is not None and not (type(proof_items) is int and 1 <= proof_items <= 100_000):
            raise InvalidRequest(
                f"proof_items is {proof_items!r}, but must be a whole number from 1 to 100000.",
                param="tailor.proof_items",
            )
        if canaries is not None and not isinstance(canaries, str):
            raise InvalidRequest(
                f"canaries is {canaries!r}, but must be the id of a file of cases.", param="tailor.canaries"
            )
        return cls(
            hold_out=hold_out,
            proof_items=proof_items or cls().proof_items,
            example_losses=example_losses,
            canaries=canaries,
            training=rest,
        )

    def share_and_maximum(self, num_examples: int) -> tuple[float, int]:
        """How much of so many examples to hold out: at most this share, and at most this many."""
        if self.hold_out is None:
            share = min(max(_DEFAULT_SHARE, _LEAST / num_examples), 0.5)
            return share, _DEFAULT_MAXIMUM
        if self.hold_out < 1:
            return self.hold_out, num_examples
        # Half of the examples at least are for learning.
        return min(self.hold_out / num_examples, 0.5), int(self.hold_out)


def _is_amount(value: object) -> bool:
    if type(value) is int:
        return 0 <= value <= 1_000_000
    return type(value) is float and 0 <= value < 1
