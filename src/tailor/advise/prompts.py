"""Prompts: what is asked of a model for an item, and the parts that may be added to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tailor.advise.material import asked_of
from tailor.advise.measure import LABEL_KEY, Measure, is_copied
from tailor.advise.passages import Passage
from tailor.advise.texts import Index, spread_out, words_of
from tailor.data import Message
from tailor.data.doctor import Item
from tailor.data.doctor.format import plain_label

_CHARACTERS_PER_TOKEN: Final = 2.6
"""Fewer than people count: a prompt that is too long is refused, one that is too short only knows less."""

_SYSTEM: Final = ("system", "developer")
_TELLING_WORDS: Final = 5
_MOST_LABELS_FORCED: Final = 200

Choose = Callable[[Item], Sequence[Item]]
"""Examples for an item, the most telling one last: next to the question."""

Find = Callable[[Item], Sequence[Passage]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What goes out for one item."""

    messages: tuple[Message, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """The prompt of the file, with what is added to it."""

    instruction: str = ""
    """Added to the system message."""

    choose: Choose | None = None
    """Examples to put before the question."""

    find: Find | None = None
    """Passages to put into the system message."""

    response_format: dict[str, Any] | None = None
    """What the server is asked to hold the answer to."""

    room_tokens: int = 8_000
    """Tokens of the model's context that the prompt may fill."""

    def request(self, item: Item) -> Request:
        """For one item. Examples and passages that do not fit are left out, the least telling first."""
        asked = asked_of(item)
        said = sum(len(str(message["content"] or "")) for message in asked)
        room = self.room_tokens * _CHARACTERS_PER_TOKEN - said - len(self.instruction)
        passages: list[Passage] = []
        for passage in self.find(item) if self.find else ():
            room -= len(passage.text) + 20
            if room < 0:
                break
            passages.append(passage)
        examples: list[Item] = []
        for example in reversed(self.choose(item) if self.choose else ()):
            room -= len(example.asked) + len(example.answer) + 40
            if room < 0:
                break
            examples.insert(0, example)
        system = [message["content"] or "" for message in asked if message["role"] in ("system", "developer")]
        system += [self.instruction] if self.instruction else []
        system += [_of_passages(passages)] if passages else []
        messages: list[Message] = [{"role": "system", "content": "\n".join(system)}] if system else []
        for example in examples:
            messages += [message for message in asked_of(example) if message["role"] not in _SYSTEM]
            messages.append({"role": "assistant", "content": example.answer})
        messages += [message for message in asked if message["role"] not in _SYSTEM]
        settings: dict[str, Any] = {"tools": list(item.tools)} if item.tools else {}
        if self.response_format is not None:
            settings["response_format"] = self.response_format
        return Request(
            messages=tuple(messages), settings=settings, sources=tuple(passage.source for passage in passages)
        )


def form_named(measure: Measure, train: Sequence[Item]) -> str | None:
    """The form of the answer in words; None where there is none to name."""
    match measure.kind:
        case "classification":
            return f"Answer with exactly one of these labels and nothing else: {', '.join(measure.labels)}."
        case "extraction":
            keys = ", ".join(f'"{key}" ({kind})' for key, kind in _keys_of(train))
            known = f" Its keys, where there is something to say: {keys}." if keys else ""
            return f"Answer with one JSON object and nothing else.{known}"
        case "exact" if is_copied(train):
            return "Answer with the wanted text as it stands in the message, and nothing else."
        case _:
            return None


def form_forced(measure: Measure) -> dict[str, Any] | None:
    """The form as a `response_format`, for servers that hold a model to it."""
    if measure.kind == "extraction":
        return {"type": "json_object"}
    if measure.kind != "classification" or len(measure.labels) > _MOST_LABELS_FORCED:
        return None
    schema = {
        "type": "object",
        "properties": {LABEL_KEY: {"type": "string", "enum": list(measure.labels)}},
        "required": [LABEL_KEY],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def labels_described(measure: Measure, train: Sequence[Item]) -> str:
    """The labels, each with the words that tell it from the others."""
    by_label: dict[str, Counter[str]] = {}
    for item in train:
        by_label.setdefault(plain_label(item.answer), Counter()).update({*words_of(item.asked)})
    everywhere: Counter[str] = Counter()
    for counts in by_label.values():
        everywhere.update(counts)
    lines = []
    for label in measure.labels:
        counts = by_label.get(plain_label(label), Counter())
        telling = sorted(
            (word for word in counts if not word.isdigit()),
            key=lambda word, counts=counts: (-(counts[word] ** 2) / everywhere[word], word),  # type: ignore[misc]
        )
        lines.append(f"- {label}: {', '.join(telling[:_TELLING_WORDS])}")
    return (
        "Answer with one of these labels and nothing else. Behind each stand words that are usual with it.\n"
        + "\n".join(lines)
    )


def similar(train: Sequence[Item], count: int) -> Choose:
    """The examples whose questions share most with the item's, the nearest last."""
    index = Index([item.asked for item in train])

    def choose(item: Item) -> list[Item]:
        return [train[place] for place, _ in reversed(index.nearest(item.asked, count))]

    return choose


def diverse(train: Sequence[Item], measure: Measure, count: int) -> Choose:
    """The same examples for every item: of each class one that is typical, else such as differ most."""
    pool = list(train[:2_000])
    if measure.kind == "classification":
        sides = [
            [item for item in pool if plain_label(item.answer) == plain_label(label)]
            for label in measure.labels
        ]
        each = max(1, count // max(len(sides), 1))
        chosen = [side[place] for side in sides for place in spread_out([i.asked for i in side], each)]
        chosen = chosen[:count]
    else:
        chosen = [pool[place] for place in spread_out([item.asked for item in pool], count)]
    return lambda item: chosen


def _of_passages(passages: Sequence[Passage]) -> str:
    texts = "\n\n".join(
        f"[{number}] ({passage.source}) {passage.text}" for number, passage in enumerate(passages, 1)
    )
    return f"Answer from these sources.\n\n{texts}"


def _keys_of(train: Sequence[Item]) -> list[tuple[str, str]]:
    """Keys of the expected objects, the most frequent first, with the kind of their values."""
    kinds: dict[str, Counter[str]] = {}
    names = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "object"}
    for item in train:
        try:
            value = json.loads(item.answer)
        except ValueError:
            continue
        for key, inside in value.items() if isinstance(value, dict) else ():
            kinds.setdefault(key, Counter())[names.get(type(inside), "text")] += 1
    ordered = sorted(kinds.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return [(key, counts.most_common(1)[0][0]) for key, counts in ordered[:40]]
