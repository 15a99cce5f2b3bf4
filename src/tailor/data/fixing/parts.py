"""What a row asks and what it answers, whatever its form, and the texts in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tailor.data._messages import text_of
from tailor.data.doctor.format import plain_label
from tailor.data.examples import JsonObject, canonical_json

SHORT_ANSWER: Final = 60
"""Longest answer that is compared as a label: exactly, but for its spelling."""

_NOT_TEXT: Final = frozenset(
    {"role", "type", "id", "name", "tool_call_id", "tools", "functions", "metadata", "weight"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A row, seen as a question with its answer."""

    frame: str
    """System prompt and tools: what must be equal for two questions to be the same."""

    asked: str
    """What is asked; the whole text where nothing is."""

    answer: str
    """What is answered: text, or tool calls as JSON; both answers of a pair."""

    @property
    def is_exact(self) -> bool:
        """Whether another answer is another answer, however much alike: labels, JSON, calls."""
        return len(self.answer) <= SHORT_ANSWER or self.answer.lstrip()[:1] in ("{", "[")

    @property
    def meant(self) -> str:
        """The answer, with its spelling set aside where it is a label."""
        return plain_label(self.answer) if len(self.answer) <= SHORT_ANSWER else self.answer


def parts_of(row: JsonObject) -> Parts:
    """The question and the answer of a row in any of OpenAI's forms, sound or not."""
    if "preferred_output" in row:
        asked = row.get("input") if isinstance(row.get("input"), dict) else {}
        pair = [row["preferred_output"], row.get("non_preferred_output")]
        return _parts(asked, _dicts(asked.get("messages")), canonical_json(pair))  # type: ignore[union-attr, arg-type]
    if "messages" in row:
        messages = _dicts(row["messages"])
        if messages and messages[-1].get("role") == "assistant":
            return _parts(row, messages[:-1], _said(messages[-1]))
        rest = {
            key: value for key, value in row.items() if key not in ("messages", "tools", "metadata", "id")
        }
        return _parts(row, messages, canonical_json(rest) if rest else "")
    if "prompt" in row:
        return Parts(frame="", asked=_as_text(row["prompt"]), answer=_as_text(row.get("completion")))
    return Parts(frame="", asked=_as_text(row.get("text", row)), answer="")


def same_key(row: JsonObject) -> str:
    """Equal for rows that teach the same: ids and metadata set aside."""
    return canonical_json({key: value for key, value in row.items() if key not in ("id", "metadata")})


def answer_in(row: JsonObject) -> str | None:
    """The answer's text, where a row has one answer in words; None elsewhere."""
    if isinstance(row.get("completion"), str) and "messages" not in row:
        return str(row["completion"])
    messages = _dicts(row.get("messages"))
    if messages and messages[-1].get("role") == "assistant" and isinstance(messages[-1].get("content"), str):
        return str(messages[-1]["content"])
    return None


def with_answer(row: JsonObject, answer: str) -> JsonObject:
    """The row with another answer; only where `answer_in` has found one."""
    if "messages" not in row:
        return {**row, "completion": answer}
    return {**row, "messages": [*row["messages"][:-1], {**row["messages"][-1], "content": answer}]}


def rewritten(value: Any, rewrite: Callable[[str], str]) -> Any:
    """The value with every text in it rewritten: contents and arguments, but not roles, ids or tools."""
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, list):
        return [rewritten(item, rewrite) for item in value]
    if isinstance(value, dict):
        return {
            key: item
            if key in _NOT_TEXT
            else _rewritten_json(item, rewrite)
            if key == "arguments"
            else rewritten(item, rewrite)
            for key, item in value.items()
        }
    return value


def _rewritten_json(written: Any, rewrite: Callable[[str], str]) -> Any:
    """Arguments of a call, which are JSON in a text: what is in quotes changes, what holds them stays."""
    try:
        value = json.loads(written)
    except (TypeError, ValueError, RecursionError):
        return rewritten(written, rewrite)
    changed = _all_rewritten(value, rewrite)
    return written if changed == value else json.dumps(changed, ensure_ascii=False)


def _all_rewritten(value: Any, rewrite: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, list):
        return [_all_rewritten(item, rewrite) for item in value]
    if isinstance(value, dict):
        return {key: _all_rewritten(item, rewrite) for key, item in value.items()}
    return value


def _parts(row: JsonObject, messages: list[JsonObject], answer: str) -> Parts:
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    others = [message for message in messages if message.get("role") not in ("system", "developer")]
    frame = canonical_json([[_said(message) for message in system], row.get("tools"), row.get("functions")])
    asked = "\n".join(_said(message) for message in others)
    return Parts(frame=frame, asked=asked or answer, answer=answer if asked else "")


def _said(message: JsonObject) -> str:
    content = message.get("content")
    try:
        text = text_of(content)
    except (TypeError, KeyError):
        text = _as_text(content)
    calls = message.get("tool_calls") or message.get("function_call")
    return "".join([text or "", canonical_json(_without_ids(calls)) if calls else ""])


def _without_ids(calls: Any) -> Any:
    if not isinstance(calls, list):
        return calls
    return [
        {key: item for key, item in call.items() if key != "id"} if isinstance(call, dict) else call
        for call in calls
    ]


def _dicts(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value) if value is not None else ""
