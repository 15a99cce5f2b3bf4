"""Which drafts become training examples."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal

from tailor.data.doctor.similar import band_keys, similarity, windows
from tailor.data.examples import Example, Message
from tailor.data.synthesis.orders import Brief, Order
from tailor.data.synthesis.requests import Draft

Refusal = Literal["no_json", "other_label", "duplicate", "wrong_format", "failed_grader"]

ALIKE = 0.7
"""Inputs that share so much of their text say the same thing (Jaccard of four-byte windows)."""

Grade = Callable[[Example], bool]


class Acceptance:
    """Takes drafts one after the other and remembers what it has taken."""

    def __init__(self, brief: Brief, *, grade: Grade | None = None, alike: float = ALIKE) -> None:
        """`grade`: whether a finished example passes the user's graders."""
        self._brief, self._grade, self._alike = brief, grade, alike
        self._buckets: dict[tuple[int, int], list[str]] = defaultdict(list)
        self._keys = _common_keys([_answer(seed) for seed in brief.seeds])
        self.remember(_question(seed) for seed in brief.seeds)

    def remember(self, inputs: Iterable[str]) -> None:
        """Inputs that nothing new may repeat."""
        texts = list(inputs)
        for text, keys in zip(
            texts, band_keys(texts, threshold=self._alike).tolist() if texts else [], strict=True
        ):
            for band, key in enumerate(keys):
                self._buckets[band, key].append(text)

    def judge(self, order: Order, draft: Draft | None, *, line: int) -> Example | Refusal:
        """The example of a draft, or why it is refused."""
        if draft is None:
            return "no_json"
        output = draft.output
        if order.label is not None:
            if output.strip().casefold() != order.label.strip().casefold():
                return "other_label"
            output = order.label
        elif self._keys is not None and _keys_of(output) != self._keys:
            return "wrong_format"
        if self._is_known(draft.input):
            return "duplicate"
        example = Example(line=line, messages=tuple(self._messages(draft.input, output)))
        if self._grade is not None and not self._grade(example):
            return "failed_grader"
        self.remember([draft.input])
        return example

    def _messages(self, asked: str, output: str) -> list[Message]:
        system = [{"role": "system", "content": self._brief.system}] if self._brief.system else []
        return [*system, {"role": "user", "content": asked}, {"role": "assistant", "content": output}]

    def _is_known(self, text: str) -> bool:
        own = windows(text)
        for band, key in enumerate(band_keys([text], threshold=self._alike)[0].tolist()):
            for other in self._buckets.get((band, key), ()):
                if similarity(own, windows(other)) >= self._alike:
                    return True
        return False


def _question(example: Example) -> str:
    asked = next((m for m in reversed(example.prompt()) if m["role"] == "user"), {})
    return str(asked.get("content") or "")


def _answer(example: Example) -> str:
    return str(example.reference().get("content") or "")


def _keys_of(text: str) -> frozenset[str] | None:
    """The keys of a JSON object; None for any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return frozenset(value) if isinstance(value, dict) else None


def _common_keys(answers: list[str]) -> frozenset[str] | None:
    """The keys that all seed answers have, where all are JSON objects of one shape."""
    found = {_keys_of(answer) for answer in answers}
    return found.pop() if len(found) == 1 else None
