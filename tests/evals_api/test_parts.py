"""The parts of a run by themselves: patience and schemas."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tailor.errors import InvalidRequest, RateLimited, Unavailable
from tailor.evals.runs import check_schema
from tailor.evals.runs.means import MAX_FAILURES, Patience
from tailor.evals.runs.schema import violations


def test_who_says_to_come_back_later_is_asked_again_then() -> None:
    answers: list[Exception | str] = [
        RateLimited("busy", retry_after_seconds=0.01),
        *[Unavailable("restarting", retry_after_seconds=0.01)] * (MAX_FAILURES - 1),
        *[RateLimited("busy", retry_after_seconds=0.01)] * 3,
        "done",
    ]

    async def action() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask() -> str:
        return await Patience().ask("m", action)

    assert asyncio.run(ask()) == "done"


def test_patience_ends_with_a_model_that_is_not_there_and_has_none_with_a_mistake() -> None:
    asked = 0

    def failing(error: Exception) -> Any:
        async def action() -> str:
            nonlocal asked
            asked += 1
            raise error

        async def ask() -> str:
            return await Patience().ask("m", action)

        return ask

    with pytest.raises(Unavailable):
        asyncio.run(failing(Unavailable("gone", retry_after_seconds=0.01))())
    assert asked == MAX_FAILURES
    asked = 0
    with pytest.raises(InvalidRequest):
        asyncio.run(failing(InvalidRequest("no"))())
    assert asked == 1


SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
        "list": {"type": "array", "items": {"$ref": "#/$defs/text"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"text": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"n": 1, "kind": "a", "list": ["x"], "either": None}, None),
        ({"n": 1.0}, None),
        ({}, "item.n is missing"),
        ({"n": "1"}, "item.n should be of type integer"),
        ({"n": True}, "item.n should be of type integer"),
        ({"n": 1, "kind": "c"}, "item.kind should be one of"),
        ({"n": 1, "list": ["x", 2]}, "item.list[1] should be of type string"),
        ({"n": 1, "either": 2}, "item.either fits none of anyOf"),
        ({"n": 1, "more": 2}, "item.more should not be there"),
    ],
)
def test_rows_are_held_to_the_schema_of_their_eval(value: Any, told: str | None) -> None:
    found = violations(value, SCHEMA, "item")
    assert (found == []) if told is None else (told in found[0])


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}},
        {"$ref": "file:///etc/passwd"},
        {"type": ["object", {}]},
        {"required": 1},
        {"properties": []},
    ],
)
def test_a_schema_that_would_never_end_or_is_none_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="no JSON schema"):
        check_schema(schema)
