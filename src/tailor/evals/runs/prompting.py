"""From a row to the request that asks for its answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from tailor.errors import InvalidRequest
from tailor.protocol import ChatRequest
from tailor.protocol.eval_runs import (
    CompletionsDataSource,
    ItemReference,
    PromptMessage,
    ResponsesDataSource,
    SamplingParams,
)
from tailor.protocol.templates import (
    MissingVariable,
    Reference,
    RenderedTooLong,
    look_up,
    parse_template,
    render,
)

JsonObject = dict[str, Any]
Sampled = CompletionsDataSource | ResponsesDataSource

DEFAULT_SEED: Final = 42
"""The same run gives the same answers, unless it asks for another seed."""

_STORED_INPUT: Final = ItemReference(type="item_reference", item_reference="item.input")
_TEXT_PARTS: Final = ("text", "input_text", "output_text")


class InvalidPrompt(InvalidRequest):
    """A row from which no question can be made."""

    default_code = "invalid_prompt"


def request_of(source: Sampled, row: JsonObject) -> ChatRequest:
    """The request for one row; raises InvalidPrompt."""
    values = {"item": row["item"], "sample": row.get("sample") or {}}
    try:
        messages = _messages(source, values)
    except (MissingVariable, RenderedTooLong) as error:
        raise InvalidPrompt(f"The prompt cannot be made: {error}.") from error
    return _request(source, messages)


def probe(source: Sampled) -> ChatRequest:
    """A request like those of the run, to see before it begins whether the model would take it."""
    return _request(source, [{"role": "user", "content": "probe"}])


def _request(source: Sampled, messages: list[JsonObject]) -> ChatRequest:
    sampling = source.sampling_params or SamplingParams()
    fields: JsonObject = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": DEFAULT_SEED if sampling.seed is None else sampling.seed,
        "max_completion_tokens": sampling.max_completion_tokens,
        "response_format": sampling.response_format or _format(sampling),
        "tools": [_tool(tool) for tool in sampling.tools] if sampling.tools else None,
        "reasoning_effort": sampling.reasoning_effort,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return ChatRequest.model_validate({"model": source.model, "messages": messages, **given})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise InvalidPrompt(f"The prompt is no conversation: {place}: {first['msg']}.") from error


def _messages(source: Sampled, values: JsonObject) -> list[JsonObject]:
    wanted = source.input_messages or _STORED_INPUT
    if not isinstance(wanted, ItemReference):
        return [_rendered(message, values) for message in wanted.template]
    [reference] = parse_template(f"{{{{ {wanted.item_reference} }}}}")
    found = look_up(reference, values) if isinstance(reference, Reference) else reference
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise InvalidPrompt(f"{wanted.item_reference} should be a list of messages, or text.")
    return [_in_chat_form(message) for message in found]


def _rendered(message: PromptMessage, values: JsonObject) -> JsonObject:
    content = message.content
    parts = content if isinstance(content, list) else [content]
    texts = (part["text"] if isinstance(part, dict) else part for part in parts)
    return {
        "role": message.role,
        "content": "\n".join(render(parse_template(text), values) for text in texts),
    }


def _in_chat_form(message: JsonObject) -> JsonObject:
    """A message of the responses API as chat completions have it."""
    content = message.get("content")
    plain = {key: value for key, value in message.items() if key not in ("type", "id", "status")}
    if isinstance(content, list):
        plain["content"] = [_part(part) for part in content]
    return plain


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
        return {"type": "text", "text": part.get("text")}
    return part


def _format(sampling: SamplingParams) -> JsonObject | None:
    """`text.format` of the responses API as `response_format`."""
    wanted = sampling.text.format if sampling.text else None
    if wanted is None or wanted.get("type") != "json_schema" or "json_schema" in wanted:
        return wanted
    return {"type": "json_schema", "json_schema": {key: wanted[key] for key in wanted if key != "type"}}


def _tool(tool: JsonObject) -> JsonObject:
    """A flat tool of the responses API as chat completions have it."""
    if tool.get("type") != "function" or "function" in tool:
        return tool
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def plain_messages(messages: Iterable[JsonObject]) -> list[JsonObject]:
    """Role and text of each message, as output items show them."""
    return [
        {"role": str(message.get("role", "")), "content": _text(message.get("content"))}
        for message in messages
    ]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else ""
