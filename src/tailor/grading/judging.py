"""Graders that ask a model: the question, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailor.protocol.graders import GraderMessage, GraderSampling, LabelModelGrader, ScoreModelGrader
from tailor.protocol.strict import StrictJsonError, parse_strict
from tailor.protocol.templates import MissingVariable, look_up, parse_template, render

_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?(?![\w])")
_KEYS: Final = ("result", "score", "label", "value", "answer")
"""Under which a JSON answer may hold what was asked for; OpenAI's own is `result`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a model is asked."""

    model: str
    """Its name as the grader has it."""

    messages: tuple[dict[str, str], ...]
    """`role` and `content`, templates filled in."""

    sampling: GraderSampling
    labels: tuple[str, ...] = ()
    """The answers allowed, for endpoints that can hold a model to them; none means a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What the model said."""

    text: str
    model: str
    """Who answered."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    refusal: str | None = None


Ask = Callable[[Question], Reply | Awaitable[Reply]]
"""Asks a model. Failures are raised as TailorError or OSError and become `model_grader_server_error`."""


def question_of(grader: ScoreModelGrader | LabelModelGrader, values: dict[str, Any]) -> Question:
    """The question about one item; raises as `render` does."""
    return Question(
        model=grader.model,
        messages=tuple(made for message in grader.input for made in _messages(message, values)),
        sampling=grader.sampling_params or GraderSampling(),
        labels=tuple(grader.labels) if isinstance(grader, LabelModelGrader) else (),
    )


def read_score(text: str, bounds: Sequence[float]) -> float | None:
    """The number in an answer, clipped; None if there is none, or several that differ.

    Taken are a number, JSON with the number under `result` or `score`, or text with one number in it.
    """
    said = _in_json(text)
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    if isinstance(said, str):
        numbers = {float(found) for found in _NUMBER.findall(said)}
        if len(numbers) != 1:
            return None
        said = numbers.pop()
    return float(min(max(said, bounds[0]), bounds[1]))


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that an answer names: alone, in JSON, or as the only one of the labels in a sentence."""
    said = _in_json(text)
    if not isinstance(said, str):
        said = str(said)
    plain = said.strip().strip("\"'`*.!: \n").casefold()
    exact = [label for label in labels if label.casefold() == plain]
    if exact:
        return exact[0]
    folded = said.casefold()
    # The longest first, blotted out when found: "incorrect" does not also name "correct".
    named = []
    for label in sorted(labels, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(label.casefold())}(?!\w)"
        folded, count = re.subn(pattern, " ", folded)
        named += [label] * bool(count)
    return named[0] if len(named) == 1 else None


def _in_json(text: str) -> Any:
    """The value that a JSON answer holds; the text itself if it is no JSON."""
    body = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = parse_strict(body.encode("utf-8", "replace"))
    except StrictJsonError:
        return text
    if isinstance(value, dict):
        return next((value[key] for key in _KEYS if key in value), None)
    return value


def _messages(message: GraderMessage | str, values: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A message with its templates filled in; a path alone gives the messages that it leads to."""
    if isinstance(message, GraderMessage):
        yield {"role": message.role, "content": _content(message, values)}
        return
    [reference] = parse_template(message)
    if isinstance(reference, str):
        raise TypeError("a reference was checked before")
    found = look_up(reference, values)
    if not isinstance(found, list) or not all(isinstance(each, dict) and "role" in each for each in found):
        raise MissingVariable(f"{{{{ {reference.path} }}}} is not a list of messages", reference.steps)
    for each in found:
        yield {"role": str(each["role"]), "content": _text(each.get("content"))}


def _content(message: GraderMessage, values: dict[str, Any]) -> str:
    content = message.content
    parts = content if isinstance(content, list) else [content]
    texts = (part["text"] if isinstance(part, dict) else part for part in parts)
    return "\n".join(render(parse_template(text), values) for text in texts)


def _text(content: Any) -> str:
    """Of a message in OpenAI's form: text, or parts of it."""
    parts = content if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str))
