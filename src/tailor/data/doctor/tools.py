"""Tool calls held against the tools on offer: names, and arguments against their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.examples import JsonObject, Message, canonical_json
from tailor.data.problems import Problem
from tailor.protocol.strict import StrictJsonError, parse_strict

NOT_OFFERED: Final = 1
BAD_ARGUMENTS: Final = 2
BAD_SCHEMA: Final = 4
_BITS: Final = {"tool_not_offered": NOT_OFFERED, "tool_arguments": BAD_ARGUMENTS, "tool_schema": BAD_SCHEMA}


def flaws_of(messages: Sequence[Message], tools: Sequence[JsonObject]) -> int:
    """Which kinds of flaws the tool calls of one example have, as bits."""
    return sum({_BITS[problem.code] for problem in problems_of(0, messages, tools)})


def problems_of(line: int, messages: Sequence[Message], tools: Sequence[JsonObject]) -> Iterator[Problem]:
    """Every call that names no tool on offer, or whose arguments its schema refuses."""
    offered = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    for index, message in enumerate(messages):
        for place, call in enumerate(message.get("tool_calls") or ()):
            name = call["function"]["name"]
            field = f"messages[{index}].tool_calls[{place}].function"
            if name not in offered:
                said = f"{name[:64]!a} is called but is not among the tools of this line."
                remedy = "List the tools you will serve with."
                yield advice(line, "tool_not_offered", said, remedy, f"{field}.name")
            elif offered[name]:
                yield from _check_arguments(line, name, call, offered[name], f"{field}.arguments")


def find_tool_flaws(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Calls of tools that are not offered, and arguments that break the tool's schema."""
    for code, title, message, why, remedy in _WORDS:
        places = np.flatnonzero(corpus.facts.tools & _BITS[code])
        told = [
            problem
            for place in places[:20].tolist()
            for problem in _again(corpus, place)
            if problem.code == code
        ]
        yield from finding(
            told,
            title=title,
            message=message.format(counted(len(places), "example")),
            why=why,
            remedy=remedy,
            total=len(corpus),
            lines=corpus.lines(places),
            num_problems=max(len(places), len(told)),
            badness=6,
        )


_WORDS: Final = (
    (
        "tool_not_offered",
        "Tools not offered",
        "{} call a tool that the line does not offer.",
        "The model learns to call tools that it was not given.",
        "List the tools you will serve with in every line that calls them.",
    ),
    (
        "tool_arguments",
        "Arguments that break the schema",
        "{} call a tool with arguments that its schema refuses.",
        "The model learns arguments that your code will refuse.",
        "Correct the arguments, or the schema.",
    ),
    (
        "tool_schema",
        "Schemas that are no schemas",
        "{} offer a tool whose parameters are not a valid JSON schema.",
        "Nothing can be checked against it, here or when serving.",
        "Correct the schema of the tool.",
    ),
)


def _again(corpus: Corpus, place: int) -> Iterator[Problem]:
    text = corpus.conversations[place]
    if text:
        row = json.loads(text)
        yield from problems_of(corpus.line(place), row["messages"], row["tools"])


def _check_arguments(line: int, name: str, call: JsonObject, schema: Any, field: str) -> Iterator[Problem]:
    try:
        arguments = parse_strict(call["function"]["arguments"].encode())
    except StrictJsonError:
        return  # the structure check has said so
    validator = _validator(canonical_json(schema))
    if validator is None:
        said = f"the parameters of {name[:64]!a} are not a valid JSON schema."
        yield advice(line, "tool_schema", said, "Correct the schema of the tool.", field)
        return
    try:
        error = next(validator.iter_errors(arguments), None)
    except Exception as failure:
        said = f"the schema of {name[:64]!a} cannot be used: {type(failure).__name__}."
        yield advice(line, "tool_schema", said, "Correct the schema of the tool.", field)
        return
    if error is not None:
        where = "".join(
            f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
        )
        said = f"the arguments of {name[:64]!a} break its schema: {error.message[:160]}."
        yield advice(line, "tool_arguments", said, "Correct the arguments, or the schema.", field + where)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    value = json.loads(schema)
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError:
        return None
    # An empty registry: a schema that points elsewhere is never fetched.
    return Draft202012Validator(value, registry=Registry())
