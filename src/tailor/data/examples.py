"""The values that the rest of the house works with: an example, and a frozen sequence of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from tailor.data.problems import DataReport

JsonObject = dict[str, Any]

Message = dict[str, Any]
"""A checked message: `role`, `content` (text or None), and where given `name`, `tool_calls`,
`tool_call_id`, `weight` (0 or 1). Legacy and part-wise forms are already rewritten."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One checked conversation to learn from; its last message is the assistant's."""

    line: int
    """Where it stood in its file, counted from 1."""

    messages: tuple[Message, ...]
    """In order; treat as read-only."""

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer, in OpenAI's form."""

    parallel_tool_calls: bool | None = None
    """Whether several calls at once are allowed; None where the row does not say."""

    fingerprint: str = field(init=False)
    """SHA-256 of the canonical JSON of everything but the line: equal content, equal fingerprint."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _digest(canonical_json(self.to_row())))

    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer: what a model is asked."""
        return self.messages[:-1]

    def reference(self) -> Message:
        """The last answer: what a model should say."""
        return self.messages[-1]

    def prompt_key(self) -> str:
        """Equal for examples that ask the same thing with the same tools."""
        asked = [
            {key: value for key, value in message.items() if key != "weight"} for message in self.prompt()
        ]
        return _digest(canonical_json([asked, list(self.tools)]))

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this example."""
        row: JsonObject = {"messages": list(self.messages)}
        if self.tools:
            row["tools"] = list(self.tools)
        if self.parallel_tool_calls is not None:
            row["parallel_tool_calls"] = self.parallel_tool_calls
        return row


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextExample:
    """One document to learn from, every token of it: plain text, or a conversation as the model reads it."""

    line: int
    """Where it stood in its file, counted from 1."""

    text: str = ""
    """The document; empty where `messages` are given."""

    messages: tuple[Message, ...] = ()
    """A conversation, to be rendered by the model's template; treat as read-only."""

    fingerprint: str = field(init=False)
    """SHA-256 of the canonical JSON of everything but the line."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _digest(canonical_json(self.to_row())))

    def prompt_key(self) -> str:
        """Equal for equal documents only: a document asks nothing."""
        return self.fingerprint

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this example."""
        return {"messages": list(self.messages)} if self.messages else {"text": self.text}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreferenceExample:
    """A question and two answers, of which one is preferred."""

    line: int
    """Where it stood in its file, counted from 1."""

    messages: tuple[Message, ...]
    """What was asked; treat as read-only."""

    preferred: tuple[Message, ...]
    """The messages of the better output."""

    rejected: tuple[Message, ...]
    """The messages of the other one."""

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer, in OpenAI's form."""

    fingerprint: str = field(init=False)
    """SHA-256 of the canonical JSON of everything but the line."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _digest(canonical_json(self.to_row())))

    def prompt_key(self) -> str:
        """Equal for pairs that answer the same question with the same tools."""
        return _digest(canonical_json([list(self.messages), list(self.tools)]))

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this example."""
        asked: JsonObject = {"messages": list(self.messages)}
        if self.tools:
            asked["tools"] = list(self.tools)
        return {
            "input": asked,
            "preferred_output": list(self.preferred),
            "non_preferred_output": list(self.rejected),
        }


class Learnable(Protocol):
    """What every kind of example has."""

    @property
    def line(self) -> int:
        """Where it stood in its file, counted from 1."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal content, equal fingerprint."""
        ...

    def prompt_key(self) -> str:
        """Equal for examples that must not be parted between training and test."""
        ...

    def to_row(self) -> JsonObject:
        """The row of a training file that reads back as this example."""
        ...


AnyExample = TypeVar("AnyExample", bound=Learnable, default=Example)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset(Generic[AnyExample]):
    """A frozen sequence of examples, with what the check found in the file they came from."""

    examples: tuple[AnyExample, ...]
    """In file order."""

    report: DataReport
    """Problems of the whole file, those of refused lines included."""

    fingerprint: str = field(init=False)
    """SHA-256 over the examples' fingerprints in order, whatever the spelling of the JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "fingerprint", _digest("\n".join(example.fingerprint for example in self.examples))
        )

    def __len__(self) -> int:
        return len(self.examples)


def canonical_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces, no escapes beyond the necessary."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_jsonl(examples: Iterable[Learnable]) -> bytes:
    """The examples as a training file, one row to a line, with a final newline."""
    return "".join(json.dumps(example.to_row(), ensure_ascii=False) + "\n" for example in examples).encode()


def digest_of(value: object) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return _digest(canonical_json(value))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
