"""Chat templates run as untrusted code: sandboxed Jinja, bounded output, no clock (reliability R9)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tailor.errors import InvalidRequest

MAX_OUTPUT_CHARACTERS = 2 * 2**20
MAX_SECONDS = 1.0

# One fixed day: a prompt served next year must have the ids that training saw.
_TODAY = datetime(2024, 7, 26, tzinfo=UTC)


class Generated(str):
    """Output of a `{% generation %}` block: what the model itself would have written."""


class Program:
    """A compiled chat template."""

    def __init__(self, source: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _TODAY.strftime
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise _failed(error) from error

    def run(self, **variables: Any) -> list[str]:
        """The output in pieces; those that the model would write are `Generated`.

        Raises:
            InvalidRequest: the template failed, or its output passes 2 MiB or one second.
        """
        try:
            return list(_bounded(self._template.generate(**variables)))
        except (TemplateError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
            raise _failed(error) from error


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`, marking its output as the model's own words."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> Generated:
        return Generated(caller())


def _bounded(pieces: Iterator[str]) -> Iterator[str]:
    deadline, length = time.monotonic() + MAX_SECONDS, 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_OUTPUT_CHARACTERS or time.monotonic() > deadline:
            raise InvalidRequest(
                "The chat template makes more than 2 MiB of text, or takes longer than a second.",
                param="messages",
                remedy="Shorten the conversation or its tools.",
            )
        yield piece


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _failed(error: Exception) -> InvalidRequest:
    return InvalidRequest(
        f"The model's chat template does not take this conversation: {error}",
        param="messages",
        remedy="Follow the role order the model was made for, or choose another base.",
    )
