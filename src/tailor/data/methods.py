"""Which kind of file each training method learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

from tailor.data.examples import Dataset
from tailor.data.lessons import read_lessons
from tailor.data.opinions import read_opinions
from tailor.data.preferences import read_preferences
from tailor.data.reinforcement import read_reinforcement
from tailor.data.supervised import read_supervised
from tailor.data.texts import read_texts

Part = Literal["training_file", "validation_file"]

LEAST_EXAMPLES = 10
"""Fewest lines of a training file (contract section 3); plain text may be one long document."""

_READERS: Mapping[str, Callable[..., Dataset[Any]]] = MappingProxyType(
    {
        "supervised": read_supervised,
        "dpo": read_preferences,
        "reward_model": read_preferences,
        "kto": read_opinions,
        "reinforcement": read_reinforcement,
        "distillation": read_lessons,
        "text": read_texts,
    }
)
METHODS = tuple(_READERS)
"""Training methods by their names on the wire."""


def read_for(method: str, stream: BinaryIO, *, name: str, part: Part) -> Dataset[Any]:
    """A file's examples, of the kind that a method learns from; what is wrong is in the report.

    Raises:
        KeyError: there is no such method.
    """
    least = LEAST_EXAMPLES if part == "training_file" and method != "text" else 1
    return _READERS[method](stream, name=name, minimum_examples=least)
