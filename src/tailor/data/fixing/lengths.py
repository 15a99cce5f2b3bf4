"""Long examples: shortened where nothing that is learned gets lost, or cut into several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from tailor.data.examples import JsonObject, Message
from tailor.errors import InvalidRequest

_ENDS: Final = (re.compile(r"\n\s*\n"), re.compile(r"(?<=[.!?])\s"), re.compile(r"\s"))
"""Where a text is cut, the best first: after a paragraph, a sentence, a word."""


class Measure(Protocol):
    """How long a text is, and how much of it fits."""

    @property
    def unit(self) -> str:
        """For people: `characters`."""

    def count(self, text: str) -> int:
        """The length of a text."""

    def start(self, text: str, length: int) -> str:
        """The beginning of a text, at most `length` long."""


class Characters:
    """Lengths in characters."""

    unit = "characters"

    def count(self, text: str) -> int:
        """The length of a text."""
        return len(text)

    def start(self, text: str, length: int) -> str:
        """The beginning of a text, at most `length` long."""
        return text[:length]


class Tokens:
    """Lengths in a model's tokens; what its chat template adds is not counted."""

    unit = "tokens"

    def __init__(self, path: Path) -> None:
        """The tokenizer in a `tokenizer.json`, or in a model's folder.

        Raises:
            InvalidRequest: There is none.
        """
        from tokenizers import Tokenizer

        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise InvalidRequest(
                f"There is no tokenizer in {file}.", remedy="Name a tokenizer.json."
            ) from error

    def count(self, text: str) -> int:
        """The length of a text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def start(self, text: str, length: int) -> str:
        """The beginning of a text, at most `length` long."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        kept = text if len(offsets) <= length else text[: offsets[length - 1][1]] if length else ""
        while self.count(kept) > length:  # a cut inside a word can change how its end is spelled in tokens
            kept = kept[:-1]
        return kept


def length_of(row: JsonObject, measure: Measure) -> int:
    """The length of everything that is said in a row."""
    return sum(map(measure.count, _texts(row)))


def shortened(row: JsonObject, most: int, measure: Measure) -> JsonObject | None:
    """The row at most that long: without its oldest turns, then with less of its longest question.

    None where even so it does not fit, because answers are never cut.
    """
    if "messages" not in row:
        return _shortened_text(row, most, measure)
    head, turns = _head_and_turns(row["messages"])
    while len(turns) > 1 and _said(head, turns, measure) > most:
        turns = turns[1:]
    messages = [*head, *(message for turn in turns for message in turn)]
    surplus = sum(_length(message, measure) for message in messages) - most
    if surplus > 0:
        asked = [n for n, message in enumerate(messages) if message.get("role") == "user" and _text(message)]
        if not asked:
            return None
        longest = max(asked, key=lambda n: measure.count(_text(messages[n])))
        room = measure.count(_text(messages[longest])) - surplus
        kept = cut(_text(messages[longest]), room, measure) if room > 0 else ""
        if not kept:
            return None
        messages[longest] = {**messages[longest], "content": kept}
    return {**row, "messages": messages}


def divided(row: JsonObject, most: int, measure: Measure) -> list[JsonObject] | None:
    """The row as several of at most that length each; None where that cannot be done.

    A conversation is cut between turns and keeps its system message in every part; a text at the end of a
    paragraph, a sentence or a word.
    """
    if isinstance(row.get("text"), str):
        return [{**row, "text": piece} for piece in _pieces(row["text"], most, measure)]
    if "messages" not in row:
        return None
    head, turns = _head_and_turns(row["messages"])
    parts: list[list[list[Message]]] = []
    for turn in turns:
        if _said(head, [turn], measure) > most:
            return None
        if parts and _said(head, [*parts[-1], turn], measure) <= most:
            parts[-1].append(turn)
        else:
            parts.append([turn])
    made = [{**row, "messages": [*head, *(message for turn in part for message in turn)]} for part in parts]
    return made if len(made) > 1 else None


def cut(text: str, length: int, measure: Measure) -> str:
    """The beginning of a text, at most that long, that ends with a paragraph, a sentence or a word."""
    kept = measure.start(text, length)
    if kept == text:
        return text
    for end in _ENDS:
        places = [found.start() for found in end.finditer(kept) if found.start() >= len(kept) // 2]
        if places:
            return kept[: places[-1]]
    return kept


def _shortened_text(row: JsonObject, most: int, measure: Measure) -> JsonObject | None:
    if isinstance(row.get("text"), str):
        return {**row, "text": cut(row["text"], most, measure)}
    prompt, completion = row.get("prompt"), row.get("completion")
    if not isinstance(prompt, str) or not isinstance(completion, str):
        return None
    room = most - measure.count(completion)
    kept = cut(prompt, room, measure) if room > 0 else ""
    return {**row, "prompt": kept} if kept else None


def _pieces(text: str, most: int, measure: Measure) -> Iterator[str]:
    while text:
        piece = cut(text, most, measure) or text[:1]
        if piece.strip():
            yield piece
        text = text[len(piece) :].lstrip()


def _head_and_turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """What stands before everything else, and the exchanges: each begins with a user's message."""
    head: list[Message] = []
    turns: list[list[Message]] = []
    for message in messages:
        role = message.get("role")
        if not turns and role in ("system", "developer"):
            head.append(message)
        elif not turns or (role == "user" and turns[-1][-1].get("role") == "assistant"):
            turns.append([message])
        else:
            turns[-1].append(message)
    return head, turns


def _said(head: Sequence[Message], turns: Sequence[Sequence[Message]], measure: Measure) -> int:
    return sum(_length(message, measure) for part in (head, *turns) for message in part)


def _length(message: Message, measure: Measure) -> int:
    return sum(map(measure.count, _texts(message)))


def _text(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _texts(value: Any) -> Iterator[str]:
    """Everything that is said: contents, prompts, texts, arguments."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("content", "text", "prompt", "completion", "arguments") and isinstance(item, str):
                yield item
            elif key not in ("tools", "functions", "metadata"):
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
