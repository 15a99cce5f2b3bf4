"""Checks of one conversation, and its rewriting into one form."""

from __future__ import annotations

import json
from typing import Any, Final

from tailor.data._notes import Notes
from tailor.data._tools import check_calls, check_function_call, check_results
from tailor.data.examples import Message

_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_OTHER_NAMES: Final = {
    "human": "user",
    "customer": "user",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "agent": "assistant",
}


def check_messages(value: Any, notes: Notes) -> list[Message]:
    """The messages of a conversation to learn from, in today's form; what is wrong goes to the notes."""
    messages = _check_each(value, notes)
    if messages:
        _check_answers(messages, notes)
    return [message for message in messages if message is not None]


def check_prompt(value: Any, notes: Notes) -> list[Message]:
    """The messages of a question that awaits an answer; an answer at the end is left out."""
    if (
        isinstance(value, list)
        and value
        and isinstance(value[-1], dict)
        and value[-1].get("role") == "assistant"
    ):
        value = value[:-1]
    return [message for message in _check_each(value, notes) if message is not None]


def refuse_unanswered(notes: Notes) -> None:
    """Note that a conversation holds no answer at all."""
    notes.block(
        "no_assistant_message",
        "messages",
        "no message is from the assistant, so there is nothing to learn.",
        remedy="End every conversation with the answer you want.",
    )


def text_of(content: str | list[dict[str, Any]] | None) -> str | None:
    """Content as one text: text parts are joined without anything between them.

    Training and serving must join alike, so that a served prompt has the tokens that training saw.
    """
    if content is None or isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def _check_each(value: Any, notes: Notes) -> list[Message | None]:
    """Each message by itself, and tool results against calls; None for one that is beyond use."""
    if not isinstance(value, list):
        notes.wrong_type("messages", value, "a list of messages")
        return []
    if not value:
        remedy = "Give at least a question and an answer."
        notes.block("empty_messages", "messages", "the conversation is empty.", remedy=remedy)
    messages = [_check_message(item, index, notes) for index, item in enumerate(value)]
    check_results(messages, notes)
    return messages


def _check_message(item: Any, index: int, notes: Notes) -> Message | None:
    place = f"messages[{index}]"
    if not isinstance(item, dict):
        notes.wrong_type(place, item, "an object with role and content")
        return None
    role = item.get("role")
    if role not in _ROLES:
        _refuse_role(item, role, f"{place}.role", notes)
        return None
    message: Message = {"role": "tool" if role == "function" else role}
    message["content"] = _check_content(item.get("content"), f"{place}.content", notes)
    if item.get("name") is not None:
        message["name"] = item["name"]
        if not isinstance(item["name"], str):
            notes.wrong_type(f"{place}.name", item["name"], "text")
    _check_weight(item, message, f"{place}.weight", notes)
    if role == "assistant":
        _check_assistant(item, message, index, notes)
        return message
    if item.get("content") is None:
        notes.block(
            "missing_content",
            f"{place}.content",
            f"the {role} message has no content.",
            remedy="Give its text.",
        )
    for key in ("tool_calls", "function_call"):
        if item.get(key):
            said = f"a {role} message cannot call tools."
            notes.block(
                "tool_call_on_wrong_role", f"{place}.{key}", said, remedy="Move it to an assistant message."
            )
    if role in ("tool", "function") and not _names_its_call(item, message, place, notes):
        return None
    return message


def _refuse_role(item: dict[str, Any], role: Any, place: str, notes: Notes) -> None:
    remedy = "Use one of system, developer, user, assistant, tool."
    if role is None:
        notes.block("missing_role", place, "the message has no role.", remedy=remedy)
    elif not isinstance(role, str):
        notes.wrong_type(place, role, "text")
    else:
        meant = role.strip().lower()
        meant = _OTHER_NAMES.get(meant, meant)
        if meant in _ROLES:
            remedy = f"Write {meant!r} instead."
        notes.block("unknown_role", place, f"there is no role {role[:40]!a}.", remedy=remedy)


def _check_content(value: Any, place: str, notes: Notes) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        notes.wrong_type(place, value, "text or a list of text parts")
        return None
    sound = [_is_text_part(part, f"{place}[{index}]", notes) for index, part in enumerate(value)]
    return text_of(value) if all(sound) else None


def _is_text_part(part: Any, place: str, notes: Notes) -> bool:
    if not isinstance(part, dict):
        notes.wrong_type(place, part, "an object with type and text")
        return False
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return True
    if kind == "text":
        notes.wrong_type(f"{place}.text", part.get("text"), "text")
    elif kind in ("image_url", "input_image", "image"):
        message = "this is an image, and the model that is trained here cannot see."
        notes.block(
            "image_unsupported", place, message, remedy="Describe it in words, or leave the line out."
        )
    else:
        named = f"a part of type {kind[:40]!a}" if isinstance(kind, str) else "a part without a type"
        remedy = 'Only text can be learned here: {"type": "text", "text": "..."}.'
        notes.block("content_part_unsupported", place, f"this is {named}.", remedy=remedy)
    return False


def _check_assistant(item: dict[str, Any], message: Message, index: int, notes: Notes) -> None:
    place = f"messages[{index}]"
    calls, legacy = item.get("tool_calls"), item.get("function_call")
    if calls is not None and calls != []:
        message["tool_calls"] = check_calls(calls, f"{place}.tool_calls", notes)
    elif legacy is not None:
        function = check_function_call(legacy, f"{place}.function_call", notes)
        call = {"id": f"call_{index}", "type": "function", "function": function}
        message["tool_calls"] = [call] if function else None
    elif _says_nothing(item.get("content"), message["content"]):
        notes.block(
            "assistant_without_content",
            f"{place}.content",
            "the assistant neither says anything nor calls a tool.",
            remedy="Give it content or tool_calls, or remove the message.",
        )


def _says_nothing(given: Any, text: str | None) -> bool:
    return given is None or (text is not None and not text.strip())


def _names_its_call(item: dict[str, Any], message: Message, place: str, notes: Notes) -> bool:
    if item["role"] == "function":  # legacy: the result names the function, check_results finds the call
        if isinstance(item.get("name"), str):
            return True
        said = "the function message does not say which function it comes from."
        notes.block("tool_result_without_call", f"{place}.name", said, remedy="Give the function's name.")
        return False
    if isinstance(item.get("tool_call_id"), str):
        message["tool_call_id"] = item["tool_call_id"]
        return True
    said = "the tool message does not say which call it answers."
    notes.block(
        "tool_result_without_call", f"{place}.tool_call_id", said, remedy="Give the id of the call, as text."
    )
    return False


def _check_weight(item: dict[str, Any], message: Message, place: str, notes: Notes) -> None:
    weight = item.get("weight")
    if weight is None:
        return
    if isinstance(weight, bool) or weight not in (0, 1):
        shown = "text" if isinstance(weight, str) else json.dumps(weight)[:20]
        remedy = "Use 0 (not trained) or 1 (trained)."
        notes.block("weight_not_0_or_1", place, f"a weight is 0 or 1, and this is {shown}.", remedy=remedy)
    elif message["role"] != "assistant":
        said = f"only assistant messages have a weight, and this one is from {item['role']!r}."
        notes.block(
            "weight_on_wrong_role", place, said, remedy="Remove the weight; nothing is learned here anyway."
        )
    else:
        message["weight"] = int(weight)


def _check_answers(messages: list[Message | None], notes: Notes) -> None:
    known = [message for message in messages if message is not None]
    answers = [message for message in known if message["role"] == "assistant"]
    if not answers:
        if len(known) == len(messages):
            refuse_unanswered(notes)
        return
    if messages[-1] is not None and messages[-1]["role"] != "assistant":
        notes.block(
            "last_message_not_assistant",
            f"messages[{len(messages) - 1}].role",
            f"the last message is from {messages[-1]['role']!r}, so its answer is missing.",
            remedy="End every conversation with an assistant message.",
        )
    if all(answer.get("weight") == 0 for answer in answers):
        notes.block(
            "nothing_to_learn",
            "messages",
            "every assistant message has weight 0, so there is nothing to learn.",
            remedy="Give at least one answer the weight 1.",
        )
