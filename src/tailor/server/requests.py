"""Reads requests strictly, and says in a sentence what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tailor.errors import InvalidRequest, TailorError
from tailor.protocol import ErrorEnvelope
from tailor.protocol.strict import parse_strict
from tailor.store import NO_METADATA, MetadataFilter

_METADATA_KEY = re.compile(r"metadata\[(?P<key>.{0,64})\]", re.DOTALL)
_MAX_NAMED = 8
_LARGE_BYTES = 64 * 1024


_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorEnvelope, "description": "The request cannot be done as asked; says why."},
    "5XX": {"model": ErrorEnvelope, "description": "Our fault, or not now."},
}
"""On every route; also keeps the framework from announcing answers of its own."""


def new_router(tag: str, prefix: str = "") -> APIRouter:
    """A router whose routes read strictly and fail with the envelope."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute, responses=_ERRORS)


class StrictRequest(Request):
    """A request whose JSON has been through the one strict parser."""

    value: Any = None

    async def json(self) -> Any:
        """The parsed body."""
        return self.value


class StrictRoute(APIRoute):
    """A route that never lets the framework parse JSON by itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's own way in, with the body parsed before."""
        inner = super().get_route_handler()
        if self.body_field is None:
            return inner

        async def handle(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if data := await strict.body():
                strict.value = await _parse(data)
            return await inner(strict)

        return handle


async def _parse(data: bytes) -> Any:
    """The JSON of a body; a large one is parsed in a thread, so that nobody else waits for it."""
    if len(data) < _LARGE_BYTES:
        return parse_strict(data)
    return await run_in_threadpool(parse_strict, data, max_bytes=len(data))


def as_sentence(invalid: RequestValidationError) -> TailorError:
    """The 400 for a request that does not fit: every field with what is wrong there, the first as `param`."""
    problems: dict[str, list[str]] = {}
    missing = set()
    for error in invalid.errors():
        param = _place(error["loc"], invalid.body, is_missing=error["type"] == "missing")
        problems.setdefault(param, []).append(_reason(error))
        if error["type"] == "missing":
            missing.add(param)
    named = list(problems)[:_MAX_NAMED]
    sentences = [
        f"Missing required parameter: '{param}'."
        if param in missing
        else f"Invalid value for '{param}': {' or '.join(dict.fromkeys(problems[param]))}."
        for param in named
    ]
    if len(problems) > len(named):
        sentences.append(f"({len(problems) - len(named)} more.)")
    code = "missing_required_parameter" if named[0] in missing else "invalid_value"
    return InvalidRequest(" ".join(sentences), param=named[0], code=code)


def _place(location: Sequence[int | str], body: Any, *, is_missing: bool) -> str:
    """`messages[2].role`: the location without the names that pydantic gives to branches of a union."""
    source, *steps = location
    if source != "body":
        return str(steps[0] if steps else source)
    place, value = "", body
    for number, step in enumerate(steps, start=1):
        is_absent = is_missing and number == len(steps)
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            place, value = f"{place}[{step}]", value[step]
        elif isinstance(step, str) and isinstance(value, dict) and (step in value or is_absent):
            place, value = f"{place}.{step}" if place else step, value.get(step)
    return place or "body"


def _reason(error: dict[str, Any]) -> str:
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


class Paging:
    """The cursor parameters of every list (contract 1.0); a limit below 1 means the default."""

    def __init__(
        self,
        after: Annotated[str | None, Query(max_length=256, description="Id of the last item seen.")] = None,
        limit: Annotated[int | None, Query(description="Most items at once; below 1 is the default.")] = None,
    ) -> None:
        self.after = after
        self.limit = limit


Cursor = Annotated[Paging, Depends()]
Order = Annotated[Literal["asc", "desc"] | None, Query(description="By time of creation.")]

METADATA_PARAMETER = {
    "name": "metadata",
    "in": "query",
    "required": False,
    "style": "deepObject",
    "explode": True,
    "description": "Only items with these pairs; the literal `metadata=null` selects items without any.",
    "schema": {
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 512},
    },
}


def metadata_filter(request: Request) -> MetadataFilter:
    """`metadata[k]=v` pairs or `metadata=null` of a list request."""
    wanted: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name == "metadata":
            if value != "null":
                raise InvalidRequest(
                    "Invalid value for 'metadata'.",
                    param="metadata",
                    code="invalid_value",
                    remedy="Filter with metadata[key]=value, or with metadata=null for items without any.",
                )
            return NO_METADATA
        if found := _METADATA_KEY.fullmatch(name):
            wanted[found["key"]] = value
    return wanted or None


Metadata = Annotated[MetadataFilter, Depends(metadata_filter)]
