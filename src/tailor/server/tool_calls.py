"""Finds tool calls in what a model wrote: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tailor.errors import InvalidRequest
from tailor.protocol import FunctionCall
from tailor.protocol.strict import parse_strict

OPENING = "<tool_call>"
_CLOSING = "</tool_call>"
_BLOCK = re.compile(f"{OPENING}(.*?){_CLOSING}", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """An answer taken apart."""

    content: str | None
    """The text beside the calls; None when there is nothing but calls."""

    calls: tuple[FunctionCall, ...]


def read_calls(text: str, names: frozenset[str], *, one_call: bool) -> Said:
    """Text and calls of a whole answer; one that is malformed or unknown leaves everything as text."""
    calls = []
    for block in _BLOCK.findall(text) if names else ():
        call = _read(block)
        if call is None or call.name not in names:
            return Said(content=text, calls=())
        calls.append(call)
    if not calls:
        return Said(content=text, calls=())
    rest = _BLOCK.sub("", text).strip()
    return Said(content=rest or None, calls=tuple(calls[:1] if one_call else calls))


def settled(text: str) -> int:
    """How many characters at the start of a growing answer can no longer be part of a call."""
    found = text.find(OPENING)
    if found >= 0:
        return found
    longest = min(len(OPENING) - 1, len(text))
    open_end = next((size for size in range(longest, 0, -1) if OPENING.startswith(text[-size:])), 0)
    return len(text) - open_end


def _read(block: str) -> FunctionCall | None:
    try:
        call = parse_strict(block.strip().encode())
        arguments = call["arguments"]
        if isinstance(arguments, str):
            arguments = parse_strict(arguments.encode())
    except (InvalidRequest, KeyError, TypeError):
        return None
    if not isinstance(call["name"], str) or not isinstance(arguments, dict):
        return None
    return FunctionCall(name=call["name"], arguments=json.dumps(arguments, ensure_ascii=False))
