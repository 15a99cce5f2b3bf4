"""Hyperparameters that all training methods share on the wire (contract section 1.3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Epochs = Annotated[int, Field(ge=1, le=50, strict=True)]
BatchSize = Annotated[int, Field(ge=1, le=256, strict=True)]
Multiplier = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Hyperparameters(BaseModel):
    """OpenAI's three; "auto" is resolved by written rules (docs/training.md)."""

    model_config = ConfigDict(extra="allow")

    n_epochs: Auto | Epochs = "auto"
    batch_size: Auto | BatchSize = "auto"
    learning_rate_multiplier: Auto | Multiplier = "auto"
