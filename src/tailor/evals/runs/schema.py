"""The shape of an eval's rows: a caller's JSON schema, as far as it can be checked in bounded time.

Callers write these schemas, so nothing in one may make us work for ever or reach out: patterns are not
run, references lead only into the schema itself, and every check counts against a budget.
"""

from __future__ import annotations

from typing import Any, Final

from tailor.errors import InvalidRequest

JsonObject = dict[str, Any]

_BUDGET: Final = 20_000
_MAX_DEPTH: Final = 64
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


def whole_schema(config: JsonObject) -> JsonObject:
    """The schema of `item` and `sample` that an eval's answers show."""
    if config["type"] != "custom":
        item: JsonObject = {"type": "object", "properties": {"input": {"type": "array"}}}
        has_sample = True
    else:
        item = config["item_schema"]
        has_sample = bool(config.get("include_sample_schema"))
    properties: JsonObject = {"item": item}
    if has_sample:
        properties["sample"] = {
            "type": "object",
            "properties": {
                "model": {"type": "string"},
                "choices": {"type": "array", "items": {"type": "object"}},
                "output_text": {"type": "string"},
                "output_json": {},
                "output_tools": {"type": "array", "items": {"type": "object"}},
            },
            "required": ["output_text"],
        }
    return {"type": "object", "properties": properties, "required": list(properties)}


def check_schema(schema: JsonObject) -> None:
    """Refuse a schema whose known parts are of the wrong kind."""
    try:
        _Check(schema).run({}, schema, "item", 0)
    except (_Malformed, _TooMuch) as error:
        raise InvalidRequest(
            f"item_schema is no JSON schema: {error}.",
            param="data_source_config.item_schema",
            code="invalid_schema",
        ) from None


def violations(value: Any, schema: JsonObject, place: str) -> list[str]:
    """What in a value is not as the schema says; the first few."""
    check = _Check(schema)
    try:
        check.run(value, schema, place, 0)
    except (_Malformed, _TooMuch) as error:
        return [f"cannot be checked: {error}"]
    return check.problems


class _Malformed(ValueError):
    """Not a schema."""


class _TooMuch(ValueError):
    """Would take too long."""


class _Check:
    def __init__(self, root: JsonObject) -> None:
        self.root = root
        self.problems: list[str] = []
        self._left = _BUDGET

    def run(self, value: Any, schema: Any, place: str, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise _TooMuch("the schema is too involved")
        if isinstance(schema, bool):
            if not schema:
                self.problems.append(f"{place} should not be there")
            return
        if not isinstance(schema, dict):
            raise _Malformed(f"{place} has a schema that is no object")
        if "$ref" in schema:
            self.run(value, self._referred(schema["$ref"]), place, depth + 1)
        self._type(value, schema, place)
        self._choices(value, schema, place, depth)
        if isinstance(value, dict):
            self._object(value, schema, place, depth)
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                self.run(item, schema["items"], f"{place}[{index}]", depth + 1)

    def _type(self, value: Any, schema: JsonObject, place: str) -> None:
        wanted = schema.get("type")
        names = wanted if isinstance(wanted, list) else [wanted] if wanted is not None else []
        strange = [name for name in names if not isinstance(name, str) or name not in _TYPES]
        if strange:
            raise _Malformed(f"{place} is of type {str(strange[0])[:40]!r}, which there is not")
        if names and not any(_is_a(value, name) for name in names):
            self.problems.append(f"{place} should be of type {' or '.join(names)}")
        if "enum" in schema:
            if not isinstance(schema["enum"], list):
                raise _Malformed(f"enum of {place} is no list")
            if value not in schema["enum"]:
                self.problems.append(f"{place} should be one of {str(schema['enum'])[:200]}")
        if "const" in schema and value != schema["const"]:
            self.problems.append(f"{place} should be {str(schema['const'])[:100]!r}")

    def _choices(self, value: Any, schema: JsonObject, place: str, depth: int) -> None:
        for part in _list(schema, "allOf", place):
            self.run(value, part, place, depth + 1)
        for word in ("anyOf", "oneOf"):
            parts = _list(schema, word, place)
            if parts and not any(self._fits(value, part, place, depth) for part in parts):
                self.problems.append(f"{place} fits none of {word}")

    def _fits(self, value: Any, schema: Any, place: str, depth: int) -> bool:
        before, self.problems = self.problems, []
        try:
            self.run(value, schema, place, depth + 1)
            return not self.problems
        finally:
            self.problems = before

    def _object(self, value: JsonObject, schema: JsonObject, place: str, depth: int) -> None:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise _Malformed(f"properties of {place} are no object")
        for name in _list(schema, "required", place):
            if isinstance(name, str) and name not in value:
                self.problems.append(f"{place}.{name} is missing")
        for name, part in properties.items():
            if name in value:
                self.run(value[name], part, f"{place}.{name}", depth + 1)
        more = schema.get("additionalProperties", True)
        if more is not True and "patternProperties" not in schema:
            for name in value.keys() - properties.keys():
                self.run(value[name], more, f"{place}.{name}", depth + 1)

    def _referred(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _Malformed(f"$ref {str(reference)[:100]!r} does not lead into the schema itself")
        found: Any = self.root
        for step in reference[1:].strip("/").split("/") if reference != "#" else []:
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or step not in found:
                raise _Malformed(f"$ref {reference[:100]!r} leads nowhere")
            found = found[step]
        return found


def _is_a(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _list(schema: JsonObject, word: str, place: str) -> list[Any]:
    found = schema.get(word, [])
    if not isinstance(found, list):
        raise _Malformed(f"{word} of {place} is no list")
    return found
