"""Held-out examples as both models see them: what is asked, and what should come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailor.data import Example
from tailor.models import Template
from tailor.training import TokenizedExample, tokenize


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One example, rendered by the template that base and version share."""

    example: Example
    prompt_ids: tuple[int, ...]
    """Everything before the last answer, exactly as it is served."""
    num_reference_tokens: int
    """Of the last answer, its end of turn included."""
    reference_text: str
    """The last answer as a model would write it."""
    tokenized: TokenizedExample
    """The whole example, for its loss."""


def render_items(examples: Iterable[Example], template: Template, *, max_tokens: int) -> list[Item]:
    """The examples that fit the context, in their order."""
    items = []
    for example in examples:
        rendered = template.render(example.messages, example.tools)
        tokenized = tokenize([example], template, max_tokens=max_tokens).examples
        last = rendered.answers[-1]
        if not tokenized or last.end > max_tokens:
            continue
        text = template.tokenizer.decode(rendered.ids[last.begin : last.end], skip_special_tokens=True)
        items.append(
            Item(
                example=example,
                prompt_ids=tuple(rendered.ids[: last.begin]),
                num_reference_tokens=last.end - last.begin,
                reference_text=str(text),
                tokenized=tokenized[0],
            )
        )
    return items


def choose(examples: Sequence[Example], most: int, *, seed: int) -> list[Example]:
    """At most so many of the examples, chosen by hash, in their order."""
    if len(examples) <= most:
        return list(examples)

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{index}:{examples[index].fingerprint}".encode()).digest()

    return [examples[index] for index in sorted(sorted(range(len(examples)), key=rank)[:most])]
