"""What is to be learnt: read as the data doctor reads it, and split so that no question is on two sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tailor.advise.measure import Measure, MeasureKind, measure_of
from tailor.data import Message, canonical_json
from tailor.data.doctor import Item
from tailor.data.doctor.items import Items
from tailor.data.doctor.wording import loose_key
from tailor.data.examples import digest_of
from tailor.data.problems import Findings
from tailor.data.rows import Form, Source
from tailor.errors import InvalidRequest

LEAST_ITEMS: Final = 20
"""Fewer cannot be split into something to learn from and something to be judged by."""

_HELD_OUT_SHARE: Final = 0.25
_MOST_HELD_OUT: Final = 400
_DEVELOPMENT_SHARE: Final = 0.1
_MOST_DEVELOPMENT: Final = 80
_WRITTEN_CHARACTERS: Final = 60_000
"""Of expected answers, over all held-out items: long answers take long to write, so fewer are asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """A file that was read."""

    name: str
    """For people."""

    items: tuple[Item, ...]
    """Examples in file order, sound ones only, each different one once."""

    num_refused: int
    """Lines that cannot be used; `tailor data check` says why."""

    num_copies: int
    """Exact copies that were set aside."""

    measure: Measure
    """How answers are judged."""

    @property
    def fingerprint(self) -> str:
        """Equal for the same examples judged in the same way."""
        return digest_of([[item.fingerprint for item in self.items], self.measure.to_dict()])


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The three sides of a split."""

    train: tuple[Item, ...]
    """To learn from, and to take examples from."""

    development: tuple[Item, ...]
    """To choose prompts and settings by."""

    held_out: tuple[Item, ...]
    """To judge by: nothing is chosen or learnt from them."""

    def to_dict(self) -> dict[str, int]:
        """How many on each side."""
        sides = {"train": self.train, "development": self.development, "held_out": self.held_out}
        return {name: len(side) for name, side in sides.items()}


def read_material(source: Source, *, kind: MeasureKind | None = None) -> Material:
    """Read a source of conversations. `kind` overrides what its answers seem to be.

    Raises:
        InvalidRequest: It holds no conversations, or too few.
    """
    if source.form not in (Form.CHAT, Form.COMPLETION):
        raise InvalidRequest(
            f"{source.name} holds rows of the form {source.form}; advice is about questions with answers.",
            remedy="Give examples with the wanted answer; `tailor train --method` takes other forms.",
        )
    findings = Findings()
    reading = Items(source.rows(), form=source.form, name=source.name, findings=findings)
    every = list(reading)
    items = tuple({item.fingerprint: item for item in every}.values())
    if len(items) < LEAST_ITEMS:
        raise InvalidRequest(
            f"{source.name} has {len(items)} different sound examples; advice that is measured needs "
            f"{LEAST_ITEMS} at least.",
            remedy="Collect more, or begin with a prompt; `tailor data check` says what is wrong.",
        )
    return Material(
        name=source.name,
        items=items,
        num_refused=reading.num_lines - len(every),
        num_copies=len(every) - len(items),
        measure=measure_of(items, kind=kind),
    )


def split(items: Sequence[Item], *, seed: int = 0, most_held_out: int = _MOST_HELD_OUT) -> Parts:
    """Train, development and held-out: the same items and seed give the same split, in whatever order.

    Questions that are equal but for case, spacing and punctuation stay on one side.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[loose_key(item.asked or item.answer)].append(item)
    keys = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    mean_answer = sum(len(item.answer) for item in items) / len(items)
    affordable = max(40, round(_WRITTEN_CHARACTERS / max(mean_answer, 1)))
    wanted = min(max(round(_HELD_OUT_SHARE * len(items)), 5), most_held_out, affordable)
    wanted_for_choice = min(max(round(_DEVELOPMENT_SHARE * len(items)), 4), _MOST_DEVELOPMENT, affordable)
    held_out: list[Item] = []
    development: list[Item] = []
    train: list[Item] = []
    for key in keys:
        group = groups[key]
        if len(held_out) + len(group) <= wanted:
            held_out += group
        elif len(development) + len(group) <= wanted_for_choice:
            development += group
        else:
            train += group
    return Parts(train=tuple(train), development=tuple(development), held_out=tuple(held_out))


def asked_of(item: Item) -> list[Message]:
    """The messages before the answer, as they are sent: `weight` is for training."""
    return [
        {key: value for key, value in message.items() if key != "weight"} for message in item.messages[:-1]
    ]


def row_of(item: Item, answer: str | None = None) -> str:
    """The line of a training file for an item, with another answer where one is given."""
    messages = list(item.messages)
    if answer is not None:
        messages[-1] = {"role": "assistant", "content": answer}
    row = {"messages": messages} | ({"tools": list(item.tools)} if item.tools else {})
    return canonical_json(row)
