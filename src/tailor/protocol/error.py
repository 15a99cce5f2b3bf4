"""The error envelope, as the OpenAPI document shows it (contract section 4)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class ErrorDetail(BaseModel):
    """What went wrong, where, and what to do."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str | None
    problems: list[dict[str, Any]] | None = None
    """Every problem of a refused file: line, field, code, message, remedy."""


class ErrorEnvelope(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail
