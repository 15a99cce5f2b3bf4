"""`{{ item.answer }}` and `{{ sample.output_tools[0].function.name }}`: the templates of graders and evals.

A path between double braces stands for the value it leads to; there is nothing else to the language, so
there is nothing to break out of. What a value holds is never read as a template again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailor.protocol.strict import StrictJsonError, parse_strict, pointer

NAMESPACES: Final = ("item", "sample")
MAX_RENDERED_CHARACTERS: Final = 4 * 1024 * 1024
_STEP: Final = re.compile(r"""\.([\w$-]+)|\[(\d{1,9})\]|\["([^"\]]+)"\]|\['([^'\]]+)'\]""")
_START: Final = re.compile(r"[A-Za-z_]\w*")
_MAX_NAMED: Final = 8


class TemplateError(ValueError):
    """The text is no template."""


class MissingVariable(LookupError):
    """A path leads nowhere."""

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


class RenderedTooLong(ValueError):
    """The values make more text than anybody would read."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A path in double braces."""

    steps: tuple[str | int, ...]
    """The namespace first; keys as text, list positions as numbers."""

    @property
    def path(self) -> str:
        """As one writes it."""
        place = ""
        for step in self.steps:
            place = pointer(place, step)
        return place


Template = tuple[str | Reference, ...]


def parse_template(text: str) -> Template:
    """Literal text and references, in order.

    Raises:
        TemplateError: braces are not closed, or hold something other than a path.
    """
    parts: list[str | Reference] = []
    position = 0
    while (begin := text.find("{{", position)) >= 0:
        end = text.find("}}", begin)
        if end < 0:
            raise TemplateError(f"the '{{{{' at character {begin + 1} is never closed by '}}}}'")
        parts += [text[position:begin], _reference(text[begin + 2 : end].strip())]
        position = end + 2
    return tuple(part for part in (*parts, text[position:]) if part)


def render(template: Template, values: Mapping[str, Any]) -> str:
    """The text, every reference replaced: text as it is, anything else as JSON.

    Raises:
        MissingVariable: a path leads nowhere; says where it stops and what there is.
        RenderedTooLong: over 4 Mi characters.
    """
    pieces, length = [], 0
    for part in template:
        piece = part if isinstance(part, str) else _as_text(look_up(part, values))
        length += len(piece)
        if length > MAX_RENDERED_CHARACTERS:
            raise RenderedTooLong(f"the template makes more than {MAX_RENDERED_CHARACTERS:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def look_up(reference: Reference, values: Mapping[str, Any]) -> Any:
    """The value at the end of a path; raises MissingVariable.

    The arguments of a tool call are JSON inside a text; a path may go on into them.
    """
    value: Any = values
    for number, step in enumerate(reference.steps):
        if isinstance(value, str) and number and reference.steps[number - 1] == "arguments":
            value = _parsed(value)
        if isinstance(value, Mapping) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and str(step).isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise MissingVariable(_nowhere(reference, number, value), reference.steps)
    return value


def _reference(inner: str) -> Reference:
    start = _START.match(inner)
    if start is None or start[0] not in NAMESPACES:
        raise TemplateError(f"'{{{{ {inner[:60]} }}}}' must begin with item or sample")
    steps: list[str | int] = [start[0]]
    position = start.end()
    while position < len(inner):
        found = _STEP.match(inner, position)
        if found is None:
            raise TemplateError(
                f"'{{{{ {inner[:60]} }}}}' is not a path such as item.answer or item.list[0].name"
            )
        key, index, *quoted = found.groups()
        steps.append(int(index) if index else key or quoted[0] or quoted[1])
        position = found.end()
    return Reference(tuple(steps))


def _parsed(text: str) -> Any:
    try:
        return parse_strict(text.encode("utf-8", "replace"))
    except StrictJsonError:
        return text


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _nowhere(reference: Reference, number: int, value: Any) -> str:
    """`item.answr` is not there: item has question, answer."""
    before = Reference(reference.steps[:number]).path or "the template"
    if isinstance(value, Mapping):
        names = [str(name) for name in value][:_MAX_NAMED]
        there = f"{before} has {', '.join(names)}" if names else f"{before} is empty"
    elif isinstance(value, list):
        there = f"{before} is a list of {len(value)}"
    else:
        there = f"{before} is no object and no list"
    return f"{{{{ {reference.path} }}}} is not there: {there}"
