"""Evals and runs from what the store keeps to what the wire shows."""

from __future__ import annotations

from typing import Any

from tailor.evals.runs import whole_schema
from tailor.protocol.eval_replies import (
    CriterionCounts,
    CriterionResult,
    EvalError,
    EvalObject,
    ModelUsage,
    OutputItem,
    OutputMessage,
    OutputSample,
    OutputUsage,
    ResultCounts,
    RunObject,
)
from tailor.store import SHOWN_ROWS, Eval, EvalItem, EvalRun

JsonObject = dict[str, Any]


def eval_object(kept: Eval) -> EvalObject:
    """An eval on the wire; its config with the whole `schema` in place of `item_schema`."""
    config: JsonObject = {
        "type": kept.data_source_config["type"],
        "schema": whole_schema(kept.data_source_config),
    }
    if config["type"] != "custom":
        config["metadata"] = kept.data_source_config.get("metadata", {})
    return EvalObject(
        id=kept.id,
        created_at=kept.created_at,
        name=kept.name,
        metadata=kept.metadata or {},
        data_source_config=config,
        testing_criteria=kept.testing_criteria,
    )


def run_object(run: EvalRun, evaluation: Eval, *, root: str) -> RunObject:
    """A run on the wire; `root` is where this server is."""
    tally = run.tally
    source, num_rows = _shown(run)
    names = [_name_of(one) for one in evaluation.testing_criteria]
    has_results = tally.passed + tally.failed + tally.errored > 0
    return RunObject(
        id=run.id,
        eval_id=run.eval_id,
        created_at=run.created_at,
        name=run.name,
        model=run.model or "",
        status=run.status,
        report_url=f"{root}/v1/evals/{run.eval_id}/runs/{run.id}/report?token={run.report_token}",
        result_counts=ResultCounts(
            total=run.total, passed=tally.passed, failed=tally.failed, errored=tally.errored
        ),
        per_model_usage=[_model_usage(model, counts) for model, counts in tally.usage.items()],
        per_testing_criteria_results=[
            CriterionCounts(testing_criteria=name, passed=passed, failed=failed)
            for name, (passed, failed) in zip(names, tally.criteria, strict=True)
            if has_results
        ],
        data_source=source,
        error=EvalError(**run.error) if run.error else EvalError(),
        metadata=run.metadata or {},
        tailor={
            "finished_at": run.finished_at,
            "num_rows": num_rows,
            "attempts": run.attempts,
        },
    )


def item_object(item: EvalItem, run: EvalRun) -> OutputItem:
    """A graded row on the wire."""
    return OutputItem(
        id=item.id,
        created_at=item.finished_at or 0,
        eval_id=run.eval_id,
        run_id=run.id,
        datasource_item_id=item.position,
        datasource_item=item.row["item"],
        status=item.status or "error",
        results=[CriterionResult.model_validate(result) for result in item.results or ()],
        sample=_asked(item.sample) if item.sample is not None else _given(item.row),
    )


def _asked(sample: JsonObject) -> OutputSample:
    """The answer that a model gave during the run."""
    usage = sample.get("usage") or {}
    return OutputSample(
        input=[OutputMessage.model_validate(message) for message in sample["input"]],
        output=sample["output"],
        model=sample["model"],
        finish_reason=sample.get("finish_reason") or "error",
        seed=sample.get("seed") or 0,
        temperature=_or_one(sample.get("temperature")),
        top_p=_or_one(sample.get("top_p")),
        max_completion_tokens=sample.get("max_completion_tokens") or 0,
        usage=OutputUsage(
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            cached_tokens=usage.get("cached_tokens", 0),
            total_tokens=usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0),
        ),
        error=EvalError(**sample["error"]) if sample.get("error") else EvalError(),
    )


def _given(row: JsonObject) -> OutputSample:
    """The answer that the data brought; how it came about is not known."""
    sample = row.get("sample") or {}
    text = sample.get("output_text")
    model = sample.get("model")
    return OutputSample(
        input=_conversation(row["item"].get("input")),
        output=[{"role": "assistant", "content": text}] if isinstance(text, str) else [],
        model=model if isinstance(model, str) else "",
        finish_reason="stop" if isinstance(text, str) else "",
        seed=0,
        temperature=1.0,
        top_p=1.0,
        max_completion_tokens=0,
        usage=OutputUsage(),
        error=EvalError(),
    )


def _conversation(messages: Any) -> list[OutputMessage]:
    found = messages if isinstance(messages, list) else []
    return [
        OutputMessage(role=str(message.get("role", "")), content=message["content"])
        for message in found
        if isinstance(message, dict) and isinstance(message.get("content"), str)
    ]


def _shown(run: EvalRun) -> tuple[JsonObject, int]:
    """The data source with its first rows, and how many rows there are as far as that is known."""
    origin = run.data_source.get("source", {})
    content = origin.get("content")
    if run.is_prepared or not isinstance(content, list):
        return run.data_source, run.total
    return run.data_source | {"source": origin | {"content": content[:SHOWN_ROWS]}}, len(content)


def _name_of(criterion: JsonObject) -> str:
    return str(criterion.get("name") or criterion["type"])


def _model_usage(model: str, counts: dict[str, int]) -> ModelUsage:
    prompt, completion = counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0)
    return ModelUsage(
        model_name=model,
        invocation_count=counts.get("invocations", 0),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=counts.get("cached_tokens", 0),
        total_tokens=prompt + completion,
    )


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value
