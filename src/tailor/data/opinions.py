"""Answers that were liked or not, each by itself: what the method 'kto' learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from tailor.data._each import read_each
from tailor.data._messages import check_messages
from tailor.data._notes import Notes
from tailor.data._tools import check_tools
from tailor.data.examples import Dataset, Example, JsonObject, Message, digest_of

_FORM = '{"messages": [..., {"role": "assistant", "content": "..."}], "label": true}'


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opinion:
    """One answer, and whether it is one to give."""

    line: int
    """Where it stood in its file, counted from 1."""

    messages: tuple[Message, ...]
    """What is asked, checked; treat as read-only."""

    answer: Message
    """The assistant's message that follows."""

    is_desirable: bool

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer, in OpenAI's form."""

    fingerprint: str = field(init=False)
    """SHA-256 of the canonical JSON of everything but the line."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", digest_of(self.to_row()))

    def prompt_key(self) -> str:
        """Equal for opinions on answers to the same question with the same tools."""
        asked = [
            {key: value for key, value in message.items() if key != "weight"} for message in self.messages
        ]
        return digest_of([asked, list(self.tools)])

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this opinion."""
        row: JsonObject = {"messages": [*self.messages, self.answer], "label": self.is_desirable}
        return row | ({"tools": list(self.tools)} if self.tools else {})

    def as_example(self) -> Example:
        """The same answer as one to learn."""
        return Example(line=self.line, messages=(*self.messages, self.answer), tools=self.tools)


def read_opinions(stream: BinaryIO, *, name: str, minimum_examples: int = 10) -> Dataset[Opinion]:
    """Read a file for the method 'kto' and check all of it.

    Never raises for what is in the file: look at `report.ok`. The examples are those of the sound lines.
    """
    return read_each(stream, _read, name=name, minimum_examples=minimum_examples, noun="opinion")


def _read(line: int, row: JsonObject, notes: Notes) -> Opinion | None:
    if "messages" not in row:
        notes.block("missing_messages", "messages", "there are no messages.", remedy=f"Write {_FORM}.")
        return None
    label = row.get("label")
    if not isinstance(label, bool):
        told = "there is no label." if label is None else "the label is neither true nor false."
        notes.block("missing_label", "label", told, remedy=f"Write {_FORM}: true for an answer to give.")
    messages = check_messages(row["messages"], notes)
    tools = check_tools(row, notes)
    if notes.blocked:
        return None
    return Opinion(
        line=line, messages=tuple(messages[:-1]), answer=messages[-1], is_desirable=bool(label), tools=tools
    )
