"""Models on the wire (contract section 1.7)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class ModelObject(BaseModel):
    """A base model, a tuned version or a checkpoint."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    tailor: dict[str, Any] | None = None
    """Ours: kind (base, version, checkpoint), base, parent, job, default."""


class ModelDeleted(BaseModel):
    """The answer to a delete."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
