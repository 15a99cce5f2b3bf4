"""Aliases on the wire (ours): a name of your own for a model, moved through a gate, with its history."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tailor.protocol.proof import Difference

Reason = Annotated[str, Field(min_length=1, max_length=2000)]

GateVerdict = Literal["better", "no worse", "cannot tell", "worse", "not compared"]


class Gate(BaseModel):
    """Whether a model may take the place of another, and on what evidence."""

    model: str
    against: str | None
    """What it was held against: what the alias stood for, else its own base."""
    is_open: bool
    verdict: GateVerdict
    """`no worse` is said only where a margin was asked for and shown."""
    evidence: str | None
    """Where the figures come from: `proof`, `proofs` of both on the same items, or `comparison eval_...`."""
    num_items: int
    difference: Difference | None
    """The model minus the other."""
    fixed: int | None
    broken: int | None
    margin: float | None
    """The loss that would be accepted; None: anything that is not significantly worse."""
    reasons: list[str]
    """Why it is shut, one sentence each; empty where it is open."""
    remedies: list[str]


class AliasMove(BaseModel):
    """One line of an alias' history."""

    created_at: int
    action: Literal["promote", "rollback", "remove"]
    model: str | None
    """What it stood for from then on; null once removed."""
    previous: str | None
    key_id: str
    """The key that was used."""
    forced: bool
    """Whether it was moved although the gate was shut."""
    reason: str | None
    gate: Gate | None


class AliasObject(BaseModel):
    """A name and the model that answers under it."""

    object: Literal["tailor.alias"] = "tailor.alias"
    name: str
    model: str
    moved_at: int
    history: list[AliasMove] | None = None
    """Newest first; null in lists."""


class AliasDeleted(BaseModel):
    """The answer to a delete."""

    name: str
    object: Literal["tailor.alias"] = "tailor.alias"
    deleted: Literal[True] = True


class Promotion(BaseModel):
    """Let an alias stand for a model."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=256)]
    comparison: Annotated[str, Field(max_length=64)] | None = None
    """A comparison of the model with what the alias stands for; otherwise their proofs decide, or the newest
    comparison there is."""
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Only if it is shown to be no worse by more than this; otherwise, unless it is significantly worse."""
    force: bool = False
    """Although the gate is shut; needs a reason."""
    reason: Reason | None = None


class Rollback(BaseModel):
    """Let an alias stand for what it stood for before."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason | None = None
