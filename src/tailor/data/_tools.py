"""Checks of tool definitions and tool calls, and their legacy forms `functions` and `function_call`."""

from __future__ import annotations

from typing import Any, Final

from tailor.data._notes import Notes, kind_of
from tailor.data.examples import JsonObject, Message
from tailor.protocol.strict import StrictJsonError, parse_strict

_CALL_FORM: Final = (
    'Write {"id": "call_1", "type": "function", "function": {"name": "...", "arguments": "{}"}}.'
)
_TOOL_FORM: Final = 'Write {"type": "function", "function": {"name": "...", "parameters": {...}}}.'


def check_tools(row: JsonObject, notes: Notes) -> tuple[JsonObject, ...]:
    """The tools of a row in today's form; empty if there are none or they are malformed."""
    tools, functions = row.get("tools"), row.get("functions")
    if tools is not None:
        return _definitions(tools, "tools", notes)
    if functions is not None:
        if not isinstance(functions, list):
            notes.wrong_type("functions", functions, "a list of function definitions")
            return ()
        return _definitions(
            [{"type": "function", "function": item} for item in functions], "functions", notes
        )
    return ()


def _definitions(value: Any, field: str, notes: Notes) -> tuple[JsonObject, ...]:
    if not isinstance(value, list):
        notes.wrong_type(field, value, "a list of tools")
        return ()
    return tuple(tool for index, tool in enumerate(value) if _is_definition(tool, f"{field}[{index}]", notes))


def _is_definition(tool: Any, place: str, notes: Notes) -> bool:
    def refuse(where: str, message: str) -> bool:
        notes.block("malformed_tools", where, message, remedy=_TOOL_FORM)
        return False

    legacy = place.startswith("functions")
    if not isinstance(tool, dict):
        return refuse(place, f"a tool is an object, and this is {kind_of(tool)}.")
    if tool.get("type") != "function":
        return refuse(f"{place}.type", "the type of a tool must be 'function'.")
    function = tool.get("function")
    inside = place if legacy else f"{place}.function"
    if not isinstance(function, dict):
        return refuse(inside, "a tool needs an object 'function'.")
    if not isinstance(function.get("name"), str) or not function["name"]:
        return refuse(f"{inside}.name", "a function needs a name.")
    if not isinstance(function.get("parameters", {}), dict | None):
        return refuse(f"{inside}.parameters", "the parameters must be a JSON schema, which is an object.")
    if not isinstance(function.get("description", ""), str | None):
        return refuse(f"{inside}.description", "the description must be text.")
    return True


def check_calls(value: Any, place: str, notes: Notes) -> list[JsonObject] | None:
    """The calls of one assistant message; None if any of them is malformed."""
    if not isinstance(value, list):
        notes.wrong_type(place, value, "a list of tool calls")
        return None
    calls = [_call(call, f"{place}[{index}]", notes) for index, call in enumerate(value)]
    seen: set[str] = set()
    for index, call in enumerate(calls):
        if call is not None and call["id"] in seen:
            message = "two calls of one message share this id."
            notes.block(
                "malformed_tool_call", f"{place}[{index}].id", message, remedy="Give each call its own id."
            )
            return None
        seen.add(call["id"] if call else "")
    return None if None in calls else [call for call in calls if call is not None]


def _call(call: Any, place: str, notes: Notes) -> JsonObject | None:
    if not isinstance(call, dict):
        notes.block(
            "malformed_tool_call",
            place,
            f"a tool call is an object, and this is {kind_of(call)}.",
            remedy=_CALL_FORM,
        )
        return None
    sound = True
    if not isinstance(call.get("id"), str) or not call["id"]:
        notes.block(
            "malformed_tool_call", f"{place}.id", "a tool call needs an id, as text.", remedy=_CALL_FORM
        )
        sound = False
    if call.get("type") != "function":
        message = "the type of a tool call must be 'function'."
        notes.block("malformed_tool_call", f"{place}.type", message, remedy=_CALL_FORM)
        sound = False
    function = check_function_call(call.get("function"), f"{place}.function", notes)
    return {"id": call["id"], "type": "function", "function": function} if sound and function else None


def check_function_call(value: Any, place: str, notes: Notes) -> JsonObject | None:
    """The `function` of a call, or a whole legacy `function_call`; None if malformed."""
    if not isinstance(value, dict):
        notes.block(
            "malformed_tool_call", place, "a call needs an object with name and arguments.", remedy=_CALL_FORM
        )
        return None
    sound = True
    if not isinstance(value.get("name"), str) or not value["name"]:
        notes.block(
            "malformed_tool_call", f"{place}.name", "the call does not name a function.", remedy=_CALL_FORM
        )
        sound = False
    sound = _are_arguments(value.get("arguments"), f"{place}.arguments", notes) and sound
    return {"name": value["name"], "arguments": value["arguments"]} if sound else None


def _are_arguments(value: Any, place: str, notes: Notes) -> bool:
    if not isinstance(value, str):
        message = f"the arguments must be a string that holds JSON, and this is {kind_of(value)}."
        remedy = "Write them as text, in Python: json.dumps(arguments)."
        notes.block("malformed_tool_call", place, message, remedy=remedy)
        return False
    try:
        parsed = parse_strict(value.encode())
    except StrictJsonError as error:
        message = f"the string does not hold JSON: {error.message}."
        remedy = 'Write the arguments with json.dumps; "{}" if there are none.'
        notes.block("malformed_tool_call", place, message, remedy=remedy)
        return False
    if not isinstance(parsed, dict):
        message = f"the arguments must be a JSON object, and this is {kind_of(parsed)}."
        notes.block(
            "malformed_tool_call", place, message, remedy='Name each argument: "{\\"city\\": \\"Rome\\"}".'
        )
        return False
    return True


def check_results(messages: list[Message | None], notes: Notes) -> None:
    """Match every tool message with the call it answers, and every call with its answer.

    Legacy results name a function instead of a call; they are given the id of the call they answer.
    The calls of the last message need no answer: making them is what is learned.
    """
    waiting: dict[str, str] = {}
    for index, message in enumerate(messages):
        if message is None or message.get("tool_calls", ()) is None:
            return  # already reported; what follows would only be a consequence
        if message["role"] == "tool":
            _match(message, waiting, f"messages[{index}]", notes)
            continue
        if waiting:
            notes.block(
                "tool_call_without_result",
                f"messages[{index}]",
                f"the conversation goes on, but the call of {next(iter(waiting.values()))!a} has no result.",
                remedy="Put a tool message for every tool_call_id right after the calls.",
            )
        waiting = {call["id"]: call["function"]["name"] for call in message.get("tool_calls", ())}


def _match(message: Message, waiting: dict[str, str], place: str, notes: Notes) -> None:
    call_id = message.get("tool_call_id")
    if call_id is None:
        call_id = next((key for key, name in waiting.items() if name == message.get("name")), None)
        message["tool_call_id"] = call_id or ""
    if call_id not in waiting:
        notes.block(
            "tool_result_without_call",
            f"{place}.tool_call_id",
            "no call just before this result has this id.",
            remedy="Use the id of a call of the assistant message before it, each id once.",
        )
        return
    del waiting[call_id]
