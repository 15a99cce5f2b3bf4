"""Conversations however they are written down, as a list of OpenAI's messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from tailor.data.examples import JsonObject, Message

ROLE_KEYS: Final = ("role", "from", "speaker", "author", "sender")
TEXT_KEYS: Final = ("content", "value", "text", "utterance", "message", "body")

_ROLES: Final = {
    "human": "user", "customer": "user", "client": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "ai": "assistant",
    "bot": "assistant", "chatbot": "assistant", "model": "assistant", "agent": "assistant",
    "function_call": "call", "tool_call": "call", "observation": "tool", "tool_response": "tool",
    "ipython": "tool",
}  # fmt: skip
_KNOWN: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_SPOKEN: Final = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant|User|System):[ \t]?")


def looks_like_turns(value: Any) -> bool:
    """Whether a value is a list of objects that each say who speaks and what."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(turn, dict) and _role_of(turn) and _text_key(turn) for turn in value)
    )


def messages_of(turns: list[JsonObject]) -> list[Message] | None:
    """The messages of a list of turns; None where somebody speaks whose part cannot be told.

    What already is a message of OpenAI's is kept as it stands.
    """
    roles = [_role_of(turn) for turn in turns]
    swap_system = "assistant" not in roles and "call" not in roles and "system" in roles[1:]
    messages: list[Message] = []
    call_id = "call_0"
    for index, (turn, role) in enumerate(zip(turns, roles, strict=True)):
        if swap_system and role == "system":
            role = "assistant"  # a dialogue between `user` and `system`, the machine
        if role == "call":
            call_id = f"call_{index}"
            call = _call(turn[_text_key(turn) or "value"], call_id)
            if call is None:
                return None
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif role not in _KNOWN:
            return None
        elif "role" in turn and "content" in turn and turn["role"] == role:
            messages.append(_plain_parts(turn))
        else:
            message = {"role": role, "content": turn[_text_key(turn) or "value"]}
            messages.append(message | {"tool_call_id": call_id} if role == "tool" else message)
    return messages


def spoken(text: str) -> list[Message] | None:
    """The messages of a text like `Human: ... Assistant: ...`; None for any other text."""
    pieces = _SPOKEN.split(text)
    if len(pieces) < 3 or pieces[0].strip():
        return None
    roles = [{"Human": "user"}.get(role, role.lower()) for role in pieces[1::2]]
    return [{"role": role, "content": said.strip()} for role, said in zip(roles, pieces[2::2], strict=True)]


def exchange(record: JsonObject) -> JsonObject | None:
    """A chat row from a request and its answer: stored completions, logs, evaluation items, ChatGPT's export.

    None for anything else, an answer without its question among them.
    """
    if isinstance(record.get("mapping"), dict) and "current_node" in record:
        said = list(_shared_conversation(record))
        return {"messages": said} if said else None
    request = _first(record, "request", "body", "sample", "input") or record
    request = _first(request, "body") or request
    asked = next((request[key] for key in ("messages", "input") if isinstance(request.get(key), list)), None)
    answered = answer_of(record)
    if asked is None or answered is None:
        return None
    turns = [*asked, *answered]
    if not all(isinstance(turn, dict) for turn in turns):
        return None
    row: JsonObject = {"messages": [_plain_parts(turn) for turn in turns]}
    if isinstance(request.get("tools"), list) and request["tools"]:
        row["tools"] = request["tools"]
    return row


def answer_of(record: JsonObject) -> list[JsonObject] | None:
    """The messages with which a model answered, wherever a service puts them."""
    response = _first(record, "response", "sample") or record
    response = _first(response, "body") or response
    choices = response.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        if isinstance(message, dict):
            kept = ("role", "content", "tool_calls", "function_call")
            return [
                {"role": "assistant"} | {key: message[key] for key in kept if message.get(key) is not None}
            ]
    output = response.get("output")
    if isinstance(output, list):
        said = [turn for turn in output if isinstance(turn, dict) and turn.get("role") == "assistant"]
        return said or None
    return None


def _first(record: JsonObject, *keys: str) -> JsonObject | None:
    return next((record[key] for key in keys if isinstance(record.get(key), dict)), None)


def _role_of(turn: JsonObject) -> str | None:
    for key in ROLE_KEYS:
        said = turn.get(key)
        if isinstance(said, dict):
            said = said.get("role") or said.get("name")
        if isinstance(said, str):
            name = said.strip().lower()
            return _ROLES.get(name, name)
    return None


def _text_key(turn: JsonObject) -> str | None:
    return next((key for key in TEXT_KEYS if key in turn), None)


def _plain_parts(turn: JsonObject) -> Message:
    """The message, with parts of the newer API (`input_text`, `output_text`) as plain text parts."""
    content = turn.get("content")
    if not isinstance(content, list) or not any(isinstance(part, dict) for part in content):
        return turn
    parts = [
        {"type": "text", "text": part.get("text")}
        if isinstance(part, dict) and part.get("type") in ("input_text", "output_text")
        else part
        for part in content
    ]
    kept = ("role", "name", "tool_calls", "tool_call_id", "weight")
    return {key: turn[key] for key in kept if key in turn} | {"content": parts}


def _call(said: Any, call_id: str) -> JsonObject | None:
    try:
        wanted = json.loads(said) if isinstance(said, str) else said
        name, arguments = wanted["name"], wanted["arguments"]
    except (ValueError, KeyError, TypeError):
        return None
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": written}}


def _shared_conversation(record: JsonObject) -> Iterator[Message]:
    """The branch of a ChatGPT conversation that was seen last, from its first message on."""
    nodes, at = record["mapping"], record["current_node"]
    branch: list[JsonObject] = []
    while isinstance(at, str) and isinstance(node := nodes.get(at), dict) and len(branch) <= len(nodes):
        branch.append(node)
        at = node.get("parent")
    for node in reversed(branch):
        message = node.get("message") or {}
        role = (message.get("author") or {}).get("role")
        parts = (message.get("content") or {}).get("parts") or []
        text = "".join(part for part in parts if isinstance(part, str))
        if role in ("user", "assistant", "system") and text.strip():
            yield {"role": role, "content": text}
