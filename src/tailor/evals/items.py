"""Held-out examples as both models see them: what is asked, and what should come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tailor.data import Example, Learnable, Lesson, Opinion, PreferenceExample, TextExample
from tailor.models import Template
from tailor.training import TokenizedExample, tokenize, tokenize_preferences, tokenize_texts

AnyExample = TypeVar("AnyExample", bound=Learnable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One example, rendered by the template that base and version share."""

    line: int
    """Where the example stood in its file."""
    prompt_key: str
    """Equal for items that ask the same thing."""
    prompt_text: str
    """What the answer replies to; empty for plain text."""
    prompt_ids: tuple[int, ...]
    """Everything before the last answer, exactly as it is served."""
    num_reference_tokens: int
    """Of the last answer, its end of turn included; of plain text, all."""
    reference_text: str
    """The last answer as a model would write it, or the plain text."""
    has_calls: bool = False
    """Whether the answer calls tools."""
    is_text: bool = False
    """Plain text: there is no answer to compare, only a loss."""
    tokenized: TokenizedExample
    """The whole example, for its loss."""
    rejected: TokenizedExample | None = None
    """The same question with the answer that should be less likely."""

    @property
    def key(self) -> str:
        """Equal for items that ask the same and expect the same, whatever file they stand in."""
        return hashlib.sha256(f"{self.prompt_key}\0{self.reference_text}".encode()).hexdigest()[:16]


def render_items(examples: Iterable[Learnable], template: Template, *, max_tokens: int) -> list[Item]:
    """The examples that fit the context, in their order; of plain text the part that fits."""
    examples = list(examples)
    texts = [example for example in examples if isinstance(example, TextExample)]
    pairs = [example for example in examples if isinstance(example, PreferenceExample)]
    answered = [
        example if isinstance(example, Example) else example.as_example()
        for example in examples
        if isinstance(example, Example)
        or (isinstance(example, Lesson) and example.answer is not None)
        or (isinstance(example, Opinion) and example.is_desirable)
    ]
    return [
        *_text_items(texts, template, max_tokens),
        *_preference_items(pairs, template, max_tokens),
        *_answered_items(answered, template, max_tokens),
    ]


def _text_items(examples: Sequence[TextExample], template: Template, max_tokens: int) -> Iterator[Item]:
    for example in examples:
        tokenized = tokenize_texts([example], template, max_tokens=max_tokens).examples[0]
        yield Item(
            line=example.line,
            prompt_key=example.prompt_key(),
            prompt_text="",
            prompt_ids=(),
            num_reference_tokens=tokenized.num_tokens,
            reference_text=str(template.tokenizer.decode(tokenized.ids, skip_special_tokens=True)),
            is_text=True,
            tokenized=tokenized,
        )


def _preference_items(
    examples: Sequence[PreferenceExample], template: Template, max_tokens: int
) -> Iterator[Item]:
    for example in examples:
        tokenized = tokenize_preferences([example], template, max_tokens=max_tokens)
        if not tokenized.examples or tokenized.truncated_lines:
            continue
        pair = tokenized.examples[0]
        begin = int(pair.preferred.weights.nonzero()[0])
        wanted = pair.preferred.ids[pair.preferred.weights > 0]
        yield Item(
            line=example.line,
            prompt_key=example.prompt_key(),
            prompt_text=str(example.messages[-1].get("content") or ""),
            prompt_ids=tuple(pair.preferred.ids[:begin].tolist()),
            num_reference_tokens=len(wanted),
            reference_text=str(template.tokenizer.decode(wanted, skip_special_tokens=True)),
            tokenized=pair.preferred,
            rejected=pair.rejected,
        )


def _answered_items(examples: Sequence[Example], template: Template, max_tokens: int) -> Iterator[Item]:
    for example in examples:
        rendered = template.render(example.messages, example.tools)
        tokenized = tokenize([example], template, max_tokens=max_tokens).examples
        last = rendered.answers[-1]
        if not tokenized or last.end > max_tokens:
            continue
        text = template.tokenizer.decode(rendered.ids[last.begin : last.end], skip_special_tokens=True)
        yield Item(
            line=example.line,
            prompt_key=example.prompt_key(),
            prompt_text=_last_words(example),
            prompt_ids=tuple(rendered.ids[: last.begin]),
            num_reference_tokens=last.end - last.begin,
            reference_text=str(text),
            has_calls=bool(example.reference().get("tool_calls")),
            tokenized=tokenized[0],
        )


def _last_words(example: Example) -> str:
    """The end of the prompt: what the answer replies to."""
    prompt = example.prompt()
    return str(prompt[-1].get("content") or "") if prompt else ""


def choose(examples: Sequence[AnyExample], most: int, *, seed: int) -> list[AnyExample]:
    """At most so many of the examples, chosen by hash, in their order."""
    if len(examples) <= most:
        return list(examples)

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{index}:{examples[index].fingerprint}".encode()).digest()

    return [examples[index] for index in sorted(sorted(range(len(examples)), key=rank)[:most])]
