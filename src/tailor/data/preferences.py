"""Pairs of answers to learn a preference from: OpenAI's preference format (contract section 3)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, BinaryIO

from tailor.data._each import read_each
from tailor.data._messages import check_messages, check_prompt
from tailor.data._notes import Notes
from tailor.data._tools import check_tools
from tailor.data.examples import Dataset, JsonObject, Message, PreferenceExample
from tailor.data.problems import Problem

_FORM = (
    '{"input": {"messages": [...]}, "preferred_output": [{"role": "assistant", "content": "..."}], '
    '"non_preferred_output": [{"role": "assistant", "content": "..."}]}'
)


_PLACE = re.compile(r"messages\[(\d+)\]")


def read_preferences(
    stream: BinaryIO, *, name: str, minimum_examples: int = 10
) -> Dataset[PreferenceExample]:
    """Read a file for the methods 'dpo' and 'reward_model', and check all of it.

    Never raises for what is in the file: look at `report.ok`. The examples are those of the sound lines.
    """
    return read_each(stream, _read, name=name, minimum_examples=minimum_examples, noun="pair")


def _read(line: int, row: JsonObject, notes: Notes) -> PreferenceExample | None:
    asked = row.get("input")
    if "messages" in row and asked is None:
        notes.block(
            "fine_tune_chat_format",
            "messages",
            "the line is in the fine-tune-chat format, but the method learns from pairs of answers.",
            remedy=f"Use the method 'supervised', or write {_FORM}.",
        )
        return None
    if not isinstance(asked, dict) or "messages" not in asked:
        notes.block("missing_input", "input", "there is no input.messages.", remedy=f"Write {_FORM}.")
        return None
    inside = Notes(line, lambda problem: notes.take(replace(problem, field=f"input.{problem.field}")))
    prompt = check_prompt(asked["messages"], inside)
    tools = check_tools(asked, inside)
    outputs = [_output(row, field, notes) for field in ("preferred_output", "non_preferred_output")]
    if notes.blocked:
        return None
    preferred, rejected = outputs
    if preferred == rejected:
        notes.block(
            "equal_outputs",
            "non_preferred_output",
            "both outputs are the same, so there is nothing to prefer.",
            remedy="Remove the line, or give the output that is worse.",
        )
    return PreferenceExample(
        line=line,
        messages=tuple(prompt),
        preferred=tuple(preferred),
        rejected=tuple(rejected),
        tools=tools,
    )


def _output(row: JsonObject, field: str, notes: Notes) -> list[Message]:
    """The messages of one output: from the assistant or a tool, at least one from the assistant."""
    value: Any = row.get(field)
    if not isinstance(value, list) or not value:
        notes.block(field, field, f"there is no {field}.", remedy=f"Write {_FORM}.")
        return []

    def take(problem: Problem) -> None:
        place = _PLACE.sub(lambda found: f"{field}[{int(found[1]) - 1}]", problem.field or "messages")
        notes.take(replace(problem, field=place.replace("messages", field)))

    question = {"role": "user", "content": "-"}  # an output by itself is no conversation yet
    messages = check_messages([question, *value], Notes(notes.line, take))[1:]
    if any(message["role"] not in ("assistant", "tool") for message in messages):
        notes.block(
            "wrong_role",
            field,
            f"a message of {field} is neither from the assistant nor from a tool.",
            remedy="Put what was asked into input.messages.",
        )
    return messages
