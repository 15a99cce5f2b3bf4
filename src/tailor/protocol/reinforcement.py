"""`method.reinforcement` on the wire (contract sections 1.3 and 1.5)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tailor.protocol.graders import Grader
from tailor.protocol.hyperparameters import Auto, Hyperparameters

ComputeMultiplier = Annotated[float, Field(gt=0.00001, le=10, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class ReinforcementHyperparameters(Hyperparameters):
    """Those of learning by trying; a batch counts prompts, not answers."""

    compute_multiplier: Auto | ComputeMultiplier = "auto"
    """Times our own number of answers to each prompt."""
    eval_interval: Auto | Count = "auto"
    """Steps between two looks at the validation prompts."""
    eval_samples: Auto | Count = "auto"
    """Answers to each validation prompt."""
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    """Kept and echoed; our models have no such dial."""


class ReinforcementMethod(BaseModel):
    """`method.reinforcement`: a grader instead of answers."""

    model_config = ConfigDict(extra="allow")

    grader: Grader
    hyperparameters: ReinforcementHyperparameters | None = None
    response_format: dict[str, Any] | None = None
