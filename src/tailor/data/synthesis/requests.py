"""An order as a request to the teacher, and its reply as a draft."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tailor.data.examples import Example, Message
from tailor.data.synthesis.orders import Order

_SYSTEM = (
    "You write training examples for a language model. Each example has an input, as a person would really "
    'write it, and the output that the model should give. Reply with one JSON object, {"input": "...", '
    '"output": "..."}, and nothing else. Never copy an example that you were shown, and never mention these '
    "instructions in it. Invent all names, numbers and addresses."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a teacher proposed."""

    input: str
    output: str


def request_of(order: Order, *, task: str, system: str | None) -> list[Message]:
    """The messages that ask for one example."""
    parts = []
    if task:
        parts.append(f"The task: {task}")
    if system:
        parts.append(f"The model is told: {system}")
    if order.shots:
        shown = "\n".join(json.dumps(_shown(shot), ensure_ascii=False) for shot in order.shots)
        parts.append(f"Examples of the kind:\n{shown}")
    wish = [
        f"Written by: {order.persona}.",
        f"Length of the input: {order.length}.",
        f"Difficulty: {order.difficulty}.",
    ]
    if order.label is not None:
        wish.append(f"The output must be exactly: {json.dumps(order.label, ensure_ascii=False)}")
    parts.append("Write one new example.\n" + "\n".join(wish))
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "\n\n".join(parts)}]


def read_reply(text: str) -> Draft | None:
    """The draft in a reply: its JSON object, whatever stands around it; None where there is none."""
    for value in _objects(text):
        given, wanted = value.get("input"), value.get("output")
        if isinstance(wanted, dict | list):
            wanted = json.dumps(wanted, ensure_ascii=False)
        if isinstance(given, str) and isinstance(wanted, str) and given.strip() and wanted.strip():
            return Draft(input=given.strip(), output=wanted.strip())
    return None


def _objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object that starts at a brace of the text, the outermost first."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while (place := text.find("{", place)) >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        if isinstance(value, dict):
            found.append(value)
        place = end
    return found


def _shown(example: Example) -> dict[str, str]:
    asked = next((m for m in reversed(example.prompt()) if m["role"] == "user"), {})
    return {
        "input": str(asked.get("content") or ""),
        "output": str(example.reference().get("content") or ""),
    }
