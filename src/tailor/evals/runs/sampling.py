"""Answers: asked of a model, or found in the data; and what of them is kept."""

from __future__ import annotations

from typing import Any

from tailor.errors import TailorError
from tailor.evals.runs.means import Means, Patience
from tailor.evals.runs.prompting import Sampled, plain_messages, request_of
from tailor.grading import Answered, sample_of
from tailor.protocol import ChatCompletion, ChatRequest
from tailor.store import EvalItem

JsonObject = dict[str, Any]
Usage = dict[str, dict[str, int]]


async def ask_for(
    item: EvalItem, source: Sampled, tenant: str, means: Means, patience: Patience
) -> tuple[JsonObject, Usage]:
    """The sample to keep for a row, with what it used; an error is a sample too."""
    try:
        request = request_of(source, item.row)
    except TailorError as error:
        return _kept(source.model or "", None) | {"error": _told(error)}, {}
    try:
        completion = await patience.ask(request.model, lambda: means.complete(tenant, request))
    except TailorError as error:
        return _kept(request.model, request) | {"error": _told(error)}, {}
    return _kept(completion.model, request) | _answer(completion), usage_of(completion)


def answered(item: EvalItem) -> Answered:
    """A row with its answer, as graders see them."""
    given = item.row.get("sample") or {}
    if item.sample is None:
        # A row without an answer has no `sample.output_text`, rather than an empty one.
        text = given.get("output_text")
        made = sample_of(text) if isinstance(text, str) else {}
        return Answered(item=item.row["item"], sample=made | given)
    message = item.sample["output"][0]
    made = sample_of(
        message["content"], tool_calls=message.get("tool_calls", ()), choices=item.sample.get("choices", ())
    )
    return Answered(item=item.row["item"], sample=made | {"model": item.sample["model"]})


def merged(one: Usage, other: Usage) -> Usage:
    """Both uses together."""
    names = ("invocations", "prompt_tokens", "completion_tokens", "cached_tokens")
    return {
        model: {name: one.get(model, {}).get(name, 0) + other.get(model, {}).get(name, 0) for name in names}
        for model in {**one, **other}
    }


def usage_of(completion: ChatCompletion) -> Usage:
    """What one answer used, as a tally counts it."""
    usage = completion.usage
    details = usage.prompt_tokens_details or {}
    return {
        completion.model: {
            "invocations": 1,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": int(details.get("cached_tokens") or 0),
        }
    }


def _answer(completion: ChatCompletion) -> JsonObject:
    choice = completion.choices[0]
    calls = [call.model_dump() for call in choice.message.tool_calls or ()]
    message: JsonObject = {"role": "assistant", "content": choice.message.content or ""}
    return {
        "output": [message | ({"tool_calls": calls} if calls else {})],
        "choices": [choice.model_dump(exclude={"logprobs"})],
        "finish_reason": choice.finish_reason,
        "usage": usage_of(completion)[completion.model],
    }


def _kept(model: str, request: ChatRequest | None) -> JsonObject:
    """What is known before there is an answer."""
    known: JsonObject = {"model": model, "input": [], "output": []}
    if request is None:
        return known
    return known | {
        "input": plain_messages(message.model_dump(exclude_unset=True) for message in request.messages),
        "seed": request.seed,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_completion_tokens": request.max_completion_tokens,
    }


def _told(error: TailorError) -> JsonObject:
    return {"code": error.code or "error", "message": error.sentence[:2000]}
