"""The two things that a grader sees: an item of the data, and what a model made of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tailor.protocol.strict import StrictJsonError, parse_strict

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One item with the answer to be graded."""

    item: JsonObject
    """A row of the data: `{{ item.* }}`."""

    sample: JsonObject
    """What the model answered: `{{ sample.* }}`; `sample_of` makes it."""

    @property
    def values(self) -> JsonObject:
        """What a template can name."""
        return {"item": self.item, "sample": self.sample}


def sample_of(
    text: str | None, *, tool_calls: Sequence[JsonObject] = (), choices: Sequence[JsonObject] = ()
) -> JsonObject:
    """The `sample` namespace of an answer.

    `output_text`, `output_tools` (as chat completions have tool calls) and `choices` are always there;
    `output_json` only where the text is JSON.
    """
    output = text or ""
    message = {"role": "assistant", "content": text} | ({"tool_calls": [*tool_calls]} if tool_calls else {})
    sample: JsonObject = {
        "output_text": output,
        "output_tools": [*tool_calls],
        "choices": [*choices] or [{"index": 0, "message": message}],
    }
    with suppress(StrictJsonError):
        sample["output_json"] = parse_strict(output.encode("utf-8", "replace"))
    return sample
