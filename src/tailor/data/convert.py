"""From one form to another, and from any source to a file that can be uploaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from tailor.data.examples import JsonObject, Message
from tailor.data.problems import Findings, Problem
from tailor.data.rows import Form, Row, Source

REFERENCE_FIELD: Final = "reference_answer"
"""Where the answer of a conversation goes when a grader is to compare with it."""


def to_form(row: JsonObject, have: Form, want: Form) -> JsonObject | None:
    """The row in another form; None where this row has no such form (`can_become` says whether any has)."""
    if have is want:
        return row
    return _CONVERSIONS[have, want](row)


def can_become(have: Form, want: Form) -> bool:
    """Whether rows of one form can be written in another."""
    return have is want or (have, want) in _CONVERSIONS


def line_of(row: JsonObject) -> bytes:
    """The row as a line of JSON Lines, its end included."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """How far a conversion is."""

    num_rows: int
    """Written so far."""

    num_left_out: int
    """Rows that gave none, each with a blocking problem."""

    position: int
    """Bytes read so far, of all sources."""


def convert(sources: Iterable[Source], stream: BinaryIO, findings: Findings) -> Iterator[Written]:
    """Write every row of the sources as JSON Lines, reporting how far it is; memory stays flat."""
    num_rows = num_left_out = before = 0
    for source in sources:
        for item in source.rows():
            if isinstance(item, Row):
                stream.write(line_of(item.value))
                num_rows += 1
            else:
                findings.add(item)
                num_left_out += item.severity == "blocking"
            if (num_rows + num_left_out) % 1000 == 0:
                position = before + source.position
                yield Written(num_rows=num_rows, num_left_out=num_left_out, position=position)
        before += source.num_bytes
    yield Written(num_rows=num_rows, num_left_out=num_left_out, position=before)


def unwritable(line: int, want: Form) -> Problem:
    """Why a single row was left out of a conversion."""
    return Problem(
        line=line,
        code="no_such_form",
        message=f"this row cannot be written in the form {want.value!r}.",
        remedy=_LIMITS[want],
    )


def _completion_to_chat(row: JsonObject) -> JsonObject | None:
    if not isinstance(row.get("prompt"), str) or not isinstance(row.get("completion"), str):
        return None
    messages = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    return {"messages": messages}


def _chat_to_completion(row: JsonObject) -> JsonObject | None:
    messages = _messages(row)
    if [message.get("role") for message in messages] != ["user", "assistant"]:
        return None
    prompt, completion = (message.get("content") for message in messages)
    if not isinstance(prompt, str) or not isinstance(completion, str):
        return None
    return {"prompt": prompt, "completion": completion}


def _chat_to_reinforcement(row: JsonObject) -> JsonObject | None:
    messages = _messages(row)
    if len(messages) < 2 or messages[-1].get("role") != "assistant" or messages[-2].get("role") != "user":
        return None
    answer = messages[-1].get("content")
    if not isinstance(answer, str):
        return None
    return {**row, "messages": messages[:-1], REFERENCE_FIELD: answer}


def _preference_to_chat(row: JsonObject) -> JsonObject | None:
    asked, better = row.get("input"), row.get("preferred_output")
    if not isinstance(asked, dict) or not isinstance(better, list):
        return None
    messages = [*_messages(asked), *better]
    return {**asked, "messages": messages} if all(isinstance(message, dict) for message in messages) else None


def _chat_to_text(row: JsonObject) -> JsonObject | None:
    """A conversation stays one: the method `text` learns every token of it as the template writes it."""
    return row if _messages(row) else None


def _messages(row: JsonObject) -> list[Message]:
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return []
    return messages


_CONVERSIONS: Final[dict[tuple[Form, Form], Callable[[JsonObject], JsonObject | None]]] = {
    (Form.COMPLETION, Form.CHAT): _completion_to_chat,
    (Form.CHAT, Form.COMPLETION): _chat_to_completion,
    (Form.CHAT, Form.REINFORCEMENT): _chat_to_reinforcement,
    (Form.PREFERENCE, Form.CHAT): _preference_to_chat,
    (Form.CHAT, Form.TEXT): _chat_to_text,
}
_LIMITS: Final = {
    Form.CHAT: "A pair needs `input` with messages and a `preferred_output`; a completion a prompt.",
    Form.PREFERENCE: "A pair needs two answers.",
    Form.REINFORCEMENT: "It needs a question from the user, and an answer in words to compare with.",
    Form.COMPLETION: "Only one question from the user with one answer in words can be one.",
    Form.TEXT: "It needs text.",
    Form.TABLE: "",
}
