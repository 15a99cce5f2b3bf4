"""Any number of models on the same items, on the wire (ours): which fixed what, which broke what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tailor.protocol.proof import Cluster, Difference, Interval

ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class ComparisonRequest(BaseModel):
    """Have models answer the same items."""

    model_config = ConfigDict(extra="forbid")

    models: Annotated[list[ModelName], Field(min_length=2, max_length=16)]
    """The first is what the others are held against."""
    file: Annotated[str, Field(max_length=256)] | None = None
    """Cases, or rows of a training file; null: what the first of the versions was proven on."""
    limit: Annotated[int, Field(ge=1, le=50_000)] | None = None
    """Only as many items, chosen by their content."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Longest answer."""
    name: Annotated[str, Field(max_length=256)] | None = None


class ComparedModel(BaseModel):
    """One model on all items."""

    model: str
    run: str
    status: str
    """Of its run: queued, in_progress, completed, failed, canceled."""
    num_done: int
    passed: int
    errored: int
    """Items that the model could not be asked; they count as failed."""
    score: float | None
    """Mean over the items, 0 to 1; null until all are there."""
    interval: Interval | None
    prompt_tokens: int
    completion_tokens: int


class ComparedPair(BaseModel):
    """A model against the first one."""

    model: str
    against: str
    verdict: Literal["better", "worse", "no proof of a difference"]
    sentence: str
    difference: Difference
    """Corrected for the number of models."""
    fixed: int
    broken: int
    unchanged: int
    clusters: list[Cluster]


class ComparedItem(BaseModel):
    """One item under every model, in the order of `models`."""

    line: int
    prompt: str
    expected: str
    scores: list[float]
    answers: list[str]


class Comparison(BaseModel):
    """Models side by side; made of the runs of an eval, whose id it has."""

    object: Literal["tailor.comparison"] = "tailor.comparison"
    id: str
    name: str
    created_at: int
    status: Literal["in_progress", "completed", "failed"]
    file: str | None
    metric: Literal["pass_rate", "score"]
    num_asked: int
    """Answers asked for, by all models together; 0 until the rows are read."""
    num_items: int
    """Items that every model was asked."""
    models: list[ComparedModel]
    """The first is what the others are held against."""
    pairs: list[ComparedPair]
    """Empty until all models are through."""
    items: list[ComparedItem]
    """Up to 200 on which the models differ, in the order of the file."""
    notes: list[str]
