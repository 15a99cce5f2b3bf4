"""From a chat request to what a template can render; what would be silently ignored is refused instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from tailor.data import text_of
from tailor.errors import InvalidRequest
from tailor.protocol import ChatMessage, ChatRequest

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """What is asked."""

    messages: tuple[JsonObject, ...]
    """In today's form: plain text content, `tool_calls` instead of `function_call`."""

    tools: tuple[JsonObject, ...]
    """Functions on offer; empty when none may be called."""

    is_legacy: bool
    """The caller speaks of `functions` and wants a `function_call`."""

    one_call: bool
    """At most one call to an answer."""

    @property
    def tool_names(self) -> frozenset[str]:
        """What may be called."""
        return frozenset(tool["function"]["name"] for tool in self.tools)


def read_conversation(request: ChatRequest) -> Conversation:
    """The conversation of a request; raises InvalidRequest naming the field that cannot be honoured."""
    _check_supported(request)
    tools, is_legacy = _tools(request)
    messages = [_message(message, f"messages[{index}]") for index, message in enumerate(request.messages)]
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        is_legacy=is_legacy,
        one_call=is_legacy or request.parallel_tool_calls is False,
    )


def _check_supported(request: ChatRequest) -> None:
    kind = (request.response_format or {"type": "text"}).get("type")
    if kind != "text":
        raise InvalidRequest(
            f"response_format {str(kind)[:40]!r} is not available on this server.",
            param="response_format",
            code="unsupported_parameter",
            remedy="Leave it out and ask for JSON in the prompt: a model tuned on JSON answers gives JSON.",
        )
    if any(kind != "text" for kind in request.modalities or ()):
        raise InvalidRequest(
            "Only text can be answered.",
            param="modalities",
            code="unsupported_parameter",
            remedy="Leave it out.",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest(
            "top_logprobs needs logprobs to be true.", param="top_logprobs", code="invalid_value"
        )


def _tools(request: ChatRequest) -> tuple[tuple[JsonObject, ...], bool]:
    """The functions on offer, and whether they came in the legacy form."""
    tools = _offered(request.tools, request.tool_choice, "tool")
    functions = _offered(request.functions, request.function_call, "function")
    if tools and functions:
        raise InvalidRequest(
            "Give 'tools' or 'functions', not both.", param="functions", code="invalid_value"
        )
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            _refuse(f"tools[{index}].type", "only tools of type 'function' can be offered")
        _check_function(tool.get("function"), f"tools[{index}].function")
    for index, function in enumerate(functions):
        _check_function(function, f"functions[{index}]")
    return tuple(tools or ({"type": "function", "function": item} for item in functions)), bool(functions)


def _offered(items: list[JsonObject] | None, choice: str | JsonObject | None, kind: str) -> list[JsonObject]:
    """The items that the choice lets the model call."""
    if choice == "none":
        return []
    if choice not in (None, "auto"):
        param = "tool_choice" if kind == "tool" else "function_call"
        raise InvalidRequest(
            f"{param} can be 'auto' or 'none' here: this server cannot force a call.",
            param=param,
            code="unsupported_value",
            remedy="Use 'auto'; a model tuned on examples with calls learns when to make them.",
        )
    return items or []


def _check_function(function: Any, place: str) -> None:
    if not isinstance(function, dict):
        _refuse(place, "should be an object")
    name = function.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        _refuse(f"{place}.name", "should be text of 1 to 64 characters")
    if not isinstance(function.get("parameters", {}), dict | None):
        _refuse(f"{place}.parameters", "should be an object (a JSON schema)")
    if not isinstance(function.get("description", ""), str | None):
        _refuse(f"{place}.description", "should be text")


def _message(message: ChatMessage, place: str) -> JsonObject:
    plain: JsonObject = {"role": "tool" if message.role == "function" else message.role}
    plain["content"] = _content(message, place)
    if message.name is not None:
        plain["name"] = message.name
    calls = _calls(message, place)
    if calls and message.role != "assistant":
        _refuse(f"{place}.tool_calls", "only assistant messages can call tools")
    if calls:
        plain["tool_calls"] = calls
    if message.role == "tool":
        if message.tool_call_id is None:
            _refuse(f"{place}.tool_call_id", "should name the call that this message answers")
        plain["tool_call_id"] = message.tool_call_id
    if plain["content"] is None and not calls:
        _refuse(f"{place}.content", "should be given")
    return plain


def _content(message: ChatMessage, place: str) -> str | None:
    if not isinstance(message.content, list):
        return message.content
    parts = []
    for index, part in enumerate(message.content):
        kind = part.get("type")
        text = part.get("refusal" if kind == "refusal" else "text")
        if kind not in ("text", "refusal"):
            raise InvalidRequest(
                f"{place}.content[{index}] is of type {str(kind)[:40]!r}; the models here read text only.",
                param=f"{place}.content[{index}]",
                code="unsupported_content",
                remedy="Send text parts, or describe the picture or sound in words.",
            )
        if not isinstance(text, str):
            _refuse(f"{place}.content[{index}].{kind}", "should be text")
        parts.append({"type": "text", "text": text})
    return text_of(parts)


def _calls(message: ChatMessage, place: str) -> list[JsonObject]:
    """The calls of an assistant message, in today's form."""
    if message.function_call is not None:
        function = _call(message.function_call, f"{place}.function_call")
        return [{"id": "call_0", "type": "function", "function": function}]
    calls = []
    for index, call in enumerate(message.tool_calls or ()):
        where = f"{place}.tool_calls[{index}]"
        if not isinstance(call.get("id"), str) or call.get("type") != "function":
            _refuse(where, "should have an id and the type 'function'")
        calls.append(
            {
                "id": call["id"],
                "type": "function",
                "function": _call(call.get("function"), f"{where}.function"),
            }
        )
    return calls


def _call(function: Any, place: str) -> JsonObject:
    if not isinstance(function, dict):
        _refuse(place, "should be an object")
    for key in ("name", "arguments"):
        if not isinstance(function.get(key), str):
            _refuse(f"{place}.{key}", "should be text")
    return {"name": function["name"], "arguments": function["arguments"]}


def _refuse(param: str, should: str) -> NoReturn:
    raise InvalidRequest(f"Invalid value for '{param}': {should}.", param=param, code="invalid_value")
