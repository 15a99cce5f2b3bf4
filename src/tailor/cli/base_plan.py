"""The file that describes how a base is made: where it starts from, and its stages."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tailor.errors import InvalidRequest


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenizerPlan(_Strict):
    """A vocabulary to be learned."""

    vocab_size: int = 8192
    files: list[str]
    """JSONL whose texts it is learned from."""


class ShapePlan(_Strict):
    """An untrained Llama."""

    num_layers: int
    hidden_size: int
    mlp_size: int
    num_heads: int
    num_key_heads: int
    context_length: int = 1024


class StartPlan(_Strict):
    """A trained base to go on from."""

    base: str
    """Its directory."""
    num_layers: int | None = None
    """More than it has: it grows before training."""


class StagePlan(_Strict):
    """One pass of training; see docs/training.md for both objects."""

    name: str
    files: list[str]
    hyperparameters: dict[str, Any] = {}
    tailor: dict[str, Any] = {}


class BasePlan(_Strict):
    """The whole file."""

    name: str
    """Of the base in the catalogue."""
    seed: int = 0
    validation: str | None = None
    """JSONL; its loss is measured after each stage."""
    tokenizer: TokenizerPlan | None = None
    shape: ShapePlan | None = None
    start: StartPlan | None = None
    stages: list[StagePlan]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanFile:
    """A plan and the folders that its paths are relative to."""

    plan: BasePlan
    data: Path
    """For data files."""
    folder: Path
    """Of the plan itself, for a base to start from."""


def read_plan(path: Path, data: Path | None) -> PlanFile:
    """Read and check a plan; raises InvalidRequest naming the field."""
    try:
        plan = BasePlan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not a TOML file: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{path}: {where}: {first['msg']}.", param=where) from error
    if (plan.start is None) == (plan.shape is None or plan.tokenizer is None):
        raise InvalidRequest(
            f"{path} must say where the base starts from.",
            remedy="Give [start] with a base to go on from, or both [shape] and [tokenizer].",
        )
    return PlanFile(plan=plan, data=data or path.parent, folder=path.parent)
