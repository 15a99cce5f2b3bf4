"""What a job would take, as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class PlannedMemory(BaseModel):
    """Peak memory of the training process, estimated, in bytes."""

    total_bytes: int
    libraries_bytes: int
    base_bytes: int
    trained_bytes: int
    """Masters, gradients and optimiser state."""
    activations_bytes: int
    output_bytes: int
    room_bytes: int | None
    """What a worker may use now; None where the system does not say."""


class TrainingPlan(BaseModel):
    """Answer of `POST /v1/tailor/plans`: a job that is not started."""

    object: Literal["tailor.plan"] = "tailor.plan"
    model: str
    method: str
    num_examples: int
    """Trained on; what is held out is not among them."""
    num_tokens: int
    """Of these examples, once."""
    num_steps: int
    computed_tokens_per_step: int
    """What examples begin with in common counts once."""
    recipe: dict[str, Any]
    memory: PlannedMemory
    fits: bool
    changes: list[str]
    """What a worker would change so that it fits; none of it changes the result but for rounding."""
    offer: str | None
    """What to do where it does not fit."""
    seconds: float | None
    """Of all optimiser steps; None where it cannot be foretold."""
    notes: list[str]
