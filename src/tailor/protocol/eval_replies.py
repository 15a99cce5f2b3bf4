"""What the Evals API answers (contract section 1.6): evals, runs, and what came of each row."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
)

from tailor.protocol.evals import ItemStatus, RunStatus


class EvalObject(BaseModel):
    """An eval."""

    id: str
    object: Literal["eval"] = "eval"
    created_at: int
    name: str
    metadata: dict[str, str]
    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]


class EvalDeleted(BaseModel):
    """The answer to a delete."""

    eval_id: str
    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: Literal[True] = True


class EvalError(BaseModel):
    """What went wrong; both empty where nothing did, for OpenAI's types have no null here."""

    code: str = ""
    message: str = ""


class ResultCounts(BaseModel):
    """Rows by what came of them."""

    total: int
    passed: int
    failed: int
    errored: int


class ModelUsage(BaseModel):
    """Tokens of one model in a run, as answerer and as judge."""

    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int


class CriterionCounts(BaseModel):
    """Rows that passed one criterion."""

    testing_criteria: str
    passed: int
    failed: int


class RunObject(BaseModel):
    """A run of an eval."""

    id: str
    object: Literal["eval.run"] = "eval.run"
    eval_id: str
    created_at: int
    name: str
    model: str
    """Empty where no model was asked."""
    status: RunStatus
    report_url: str
    """A page for people. Whoever has this address may read it, without a key."""
    result_counts: ResultCounts
    per_model_usage: list[ModelUsage]
    per_testing_criteria_results: list[CriterionCounts]
    data_source: dict[str, Any]
    """Of rows in the request, the first hundred; `tailor.num_rows` says how many there are."""
    error: EvalError
    metadata: dict[str, str]
    tailor: dict[str, Any]


class RunDeleted(BaseModel):
    """The answer to a delete."""

    run_id: str
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: Literal[True] = True


class CriterionResult(BaseModel):
    """What one criterion made of a row."""

    name: str
    type: str
    passed: bool
    score: float
    sample: dict[str, Any] | None = None
    """The grading model's own question and answer."""
    tailor: dict[str, Any]
    """Ours: `errors`, flags as `graders.run` has them, and `problems` in words."""


class OutputUsage(BaseModel):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0


class OutputMessage(BaseModel):
    """A message, text only."""

    role: str
    content: str


class OutputSample(BaseModel):
    """The question and the answer that was graded."""

    model_config = ConfigDict(extra="allow")

    input: list[OutputMessage]
    output: list[dict[str, Any]]
    model: str
    finish_reason: str
    seed: int
    temperature: float
    top_p: float
    max_completion_tokens: int
    """0: as far as the model's context goes."""
    usage: OutputUsage
    error: EvalError


class OutputItem(BaseModel):
    """A row with its answer and its grades."""

    id: str
    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    created_at: int
    eval_id: str
    run_id: str
    datasource_item_id: int
    datasource_item: dict[str, Any]
    status: ItemStatus
    results: list[CriterionResult]
    sample: OutputSample
