"""What a teacher is asked: prompts, some of them with an answer already (the method 'distillation')."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import BinaryIO

from tailor.data._each import read_each
from tailor.data._messages import check_messages, check_prompt
from tailor.data._notes import Notes
from tailor.data._tools import check_tools
from tailor.data.examples import Dataset, Example, JsonObject, Message, digest_of

_FORM = '{"messages": [{"role": "user", "content": "..."}]}'


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lesson:
    """A prompt for a teacher, and the answer to learn from once there is one."""

    line: int
    """Where it stood in its file, counted from 1."""

    messages: tuple[Message, ...]
    """What is asked, checked; treat as read-only."""

    answer: Message | None = None
    """The assistant's message that follows."""

    item: JsonObject
    """The whole row as the file has it: what graders know as `item`. Treat as read-only."""

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer, in OpenAI's form."""

    fingerprint: str = field(init=False)
    """SHA-256 of the canonical JSON of the row and the answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", digest_of([self.item, self.answer]))

    def prompt_key(self) -> str:
        """Equal for lessons that ask the same thing with the same tools."""
        asked = [
            {key: value for key, value in message.items() if key != "weight"} for message in self.messages
        ]
        return digest_of([asked, list(self.tools)])

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this lesson."""
        messages = list(self.messages) if self.answer is None else [*self.messages, self.answer]
        return {**self.item, "messages": messages}

    def answered(self, answer: Message) -> Lesson:
        """The same with a teacher's answer; nothing else of the conversation is learned."""
        return replace(
            self,
            messages=tuple(
                {**message, "weight": 0} if message["role"] == "assistant" else message
                for message in self.messages
            ),
            answer=answer,
        )

    def as_example(self) -> Example:
        """To learn from as it is; there must be an answer."""
        if self.answer is None:
            raise ValueError("there is no answer yet")
        return Example(line=self.line, messages=(*self.messages, self.answer), tools=self.tools)


def read_lessons(stream: BinaryIO, *, name: str, minimum_examples: int = 10) -> Dataset[Lesson]:
    """Read a file for the method 'distillation' and check all of it.

    Never raises for what is in the file: look at `report.ok`. The lessons are those of the sound lines.
    """
    return read_each(stream, _read, name=name, minimum_examples=minimum_examples, noun="prompt")


def _read(line: int, row: JsonObject, notes: Notes) -> Lesson | None:
    if "messages" not in row:
        notes.block("missing_messages", "messages", "there are no messages.", remedy=f"Write {_FORM}.")
        return None
    given = row["messages"]
    last = (
        given[-1].get("role") if isinstance(given, list) and given and isinstance(given[-1], dict) else None
    )
    tools = check_tools(row, notes)
    if last == "assistant":
        messages = check_messages(given, notes)
        if notes.blocked:
            return None
        return Lesson(line=line, messages=tuple(messages[:-1]), answer=messages[-1], item=row, tools=tools)
    if last in ("system", "developer"):
        notes.block(
            "last_message_not_user",
            f"messages[{len(given) - 1}].role",
            f"the last message is from {last!r}, so nothing is asked.",
            remedy="End every prompt with a user message, or with the answer to it.",
        )
    messages = check_prompt(given, notes)
    if notes.blocked:
        return None
    return Lesson(line=line, messages=tuple(messages), item=row, tools=tools)
