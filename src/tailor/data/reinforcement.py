"""Prompts to learn on by trying, and what a grader needs: OpenAI's reinforcement format (contract 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from tailor.data._each import read_each
from tailor.data._messages import check_prompt
from tailor.data._notes import Notes
from tailor.data._tools import check_tools
from tailor.data.examples import Dataset, JsonObject, Message, digest_of

_FORM = '{"messages": [{"role": "user", "content": "..."}], "answer": "..."}'


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReinforcementExample:
    """A prompt that a model answers as it likes, and what its answers are graded by."""

    line: int
    """Where it stood in its file, counted from 1."""

    messages: tuple[Message, ...]
    """The prompt, checked; treat as read-only."""

    item: JsonObject
    """The whole row as the file has it: what graders know as `item`. Treat as read-only."""

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer, in OpenAI's form."""

    fingerprint: str = field(init=False)
    """SHA-256 of the canonical JSON of everything but the line."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", digest_of(self.item))

    def prompt_key(self) -> str:
        """Equal for examples that ask the same thing with the same tools."""
        return digest_of([list(self.messages), list(self.tools)])

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this example."""
        return self.item


def read_reinforcement(
    stream: BinaryIO, *, name: str, minimum_examples: int = 10
) -> Dataset[ReinforcementExample]:
    """Read a file for the method 'reinforcement' and check all of it.

    Never raises for what is in the file: look at `report.ok`. The examples are those of the sound lines.
    """
    return read_each(stream, _read, name=name, minimum_examples=minimum_examples, noun="prompt")


def _read(line: int, row: JsonObject, notes: Notes) -> ReinforcementExample | None:
    if "messages" not in row:
        is_pair = "preferred_output" in row or "non_preferred_output" in row
        told = "the line is a pair of answers, for the method 'dpo'." if is_pair else "there are no messages."
        remedy = f"Use the method 'dpo', or write {_FORM}." if is_pair else f"Write {_FORM}."
        notes.block("missing_messages", "messages", told, remedy=remedy)
        return None
    given = row["messages"]
    if isinstance(given, list) and given and isinstance(given[-1], dict):
        _check_end(given[-1].get("role"), len(given) - 1, notes)
    messages = check_prompt(given, notes)
    tools = check_tools(row, notes)
    if notes.blocked:
        return None
    return ReinforcementExample(line=line, messages=tuple(messages), item=row, tools=tools)


def _check_end(role: object, index: int, notes: Notes) -> None:
    """The model is to answer, so the last word is the user's, or a tool's that the model has called."""
    place = f"messages[{index}].role"
    if role == "assistant":
        notes.block(
            "answer_in_prompt",
            place,
            "the last message is from the assistant, but here the model answers by itself.",
            remedy="Remove it; what the grader needs of it goes into a field of its own, such as "
            '"reference_answer".',
        )
    elif role in ("system", "developer"):
        notes.block(
            "last_message_not_user",
            place,
            f"the last message is from {role!r}, so nothing is asked.",
            remedy="End every prompt with a user message.",
        )
