"""JSON from strangers: one strict parser for request bodies and for the lines of data files.

Python's own reader takes `NaN`, `1e999`, lone surrogates, duplicate keys and integers of any size, and
answers deep nesting with RecursionError. Each of those breaks something later (reliability R8), so what
comes out of here is safe to store, to hash and to send back.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any, Final

from tailor.errors import InvalidRequest

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Longest line of a JSONL file, in bytes."""

MAX_DEPTH: Final = 32
"""Most lists and objects inside each other; a plain number has depth 0."""

_INT64: Final = range(-(2**63), 2**63)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_POISON_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_POISON_CHARACTER: Final = re.compile("[\0\ud800-\udfff]")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class StrictJsonError(InvalidRequest):
    """The bytes are not JSON that we can take."""

    def __init__(self, code: str, message: str, pointer: str | None = None, *, remedy: str) -> None:
        super().__init__(message, param=pointer, code=code, remedy=remedy)
        self.pointer = pointer
        """Where, as `messages[2].content`; None where the place has no name."""


def parse_strict(data: bytes, *, max_bytes: int = MAX_LINE_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON value.

    Refuses what is over the limits, not UTF-8, not JSON, has a key twice in one object, a number outside
    int64 or the finite floats, a NUL or half a surrogate pair. A byte order mark is passed over.

    Raises:
        StrictJsonError: with code `json_too_large`, `json_not_utf8`, `json_nul`, `json_invalid`,
            `json_too_deep`, `json_duplicate_key`, `json_number_range` or `json_lone_surrogate`.
    """
    if len(data) > max_bytes:
        raise StrictJsonError(
            "json_too_large",
            f"{len(data):,} bytes of JSON are more than the {max_bytes:,} allowed",
            remedy="Send less at once.",
        )
    text = _decode(data)
    deep = data.count(b"{") + data.count(b"[") > max_depth
    try:
        if not deep and not _POISON_ESCAPE.search(data):
            try:
                return _TRUSTING.decode(text)
            except _Poison:
                pass
        value = _MARKING.decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep(max_depth, None) from None
    _inspect(value, max_depth)
    return value


def pointer(parent: str, key: str | int) -> str:
    """The name of a place: `pointer("messages[2]", "content")` is `messages[2].content`."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{parent}.{key}" if parent else key
    return f"{parent}[{json.dumps(key[:64])}]"


class _Poison(Exception):
    """There is something in the text that only the slow way can name."""


class _Repeated(dict[str, Any]):
    """An object whose text names one key twice; the inspection finds its place."""

    key: str


def _mark_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = _Repeated(value)
    counts = Counter(name for name, _ in pairs)
    repeated.key = next(name for name, count in counts.items() if count > 1)
    return repeated


def _mark_integer(text: str) -> int:
    # 20 characters hold every int64; int() of a longer text is slow and, past 4,300 digits, refused.
    return int(text) if len(text) <= 20 else _INT64.stop


def _trust_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Poison
    return value


def _trust_integer(text: str) -> int:
    value = _mark_integer(text)
    if value not in _INT64:
        raise _Poison
    return value


def _trust_float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise _Poison
    return value


_MARKING: Final = json.JSONDecoder(object_pairs_hook=_mark_object, parse_int=_mark_integer)
"""Takes what Python takes, for the inspection to find where the poison is."""

_TRUSTING: Final = json.JSONDecoder(
    object_pairs_hook=_trust_object,
    parse_int=_trust_integer,
    parse_float=_trust_float,
    parse_constant=_trust_float,
)
"""Gives up at the first poison: five times as fast, and almost every line has none."""


def _decode(data: bytes) -> str:
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if b"\0" in data:
        raise StrictJsonError(
            "json_nul",
            f"there is a NUL byte at byte {data.index(0) + 1}",
            remedy="Remove NUL bytes; if the file is UTF-16, save it as UTF-8.",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJsonError(
            "json_not_utf8",
            f"byte {error.start + 1} (0x{data[error.start]:02x}) is not UTF-8",
            remedy="Save the text as UTF-8.",
        ) from None


def _not_json(error: json.JSONDecodeError) -> StrictJsonError:
    reason = f"{error.msg} at column {error.pos + 1}" if error.doc.strip() else "there is nothing here"
    return StrictJsonError(
        "json_invalid", f"not valid JSON: {reason}", remedy="Write it with a JSON library, not by hand."
    )


def _too_deep(max_depth: int, place: str | None) -> StrictJsonError:
    return StrictJsonError(
        "json_too_deep",
        f"lists and objects are nested more than {max_depth} deep",
        place,
        remedy="Flatten the value, or store the inner part as a string.",
    )


def _inspect(value: Any, max_depth: int) -> None:
    """Raise for the first value, in reading order, that is not to be kept."""
    waiting: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while waiting:
        place, value = next(waiting[-1], (None, None))
        if place is None:
            waiting.pop()
        elif isinstance(value, dict | list):
            if len(waiting) > max_depth:
                raise _too_deep(max_depth, place)
            waiting.append(_members(value, place))
        else:
            _inspect_scalar(value, place or None)


def _members(value: dict[str, Any] | list[Any], place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield pointer(place, index), item
        return
    if isinstance(value, _Repeated):
        raise StrictJsonError(
            "json_duplicate_key",
            f"the key {json.dumps(value.key[:64])} stands twice in one object",
            pointer(place, value.key),
            remedy="Keep one of them.",
        )
    for key, item in value.items():
        _inspect_scalar(key, pointer(place, key))
        yield pointer(place, key), item


def _inspect_scalar(value: Any, place: str | None) -> None:
    if isinstance(value, str):
        poison = _POISON_CHARACTER.search(value)
        if poison is None:
            return
        if poison[0] == "\0":
            raise StrictJsonError(
                "json_nul", "the text holds a NUL character (\\u0000)", place, remedy="Remove it."
            )
        raise StrictJsonError(
            "json_lone_surrogate",
            f"the text holds half a surrogate pair (\\u{ord(poison[0]):04x})",
            place,
            remedy="The text was cut inside a character, such as an emoji; write the whole one.",
        )
    if isinstance(value, float) and not isfinite(value):
        raise StrictJsonError(
            "json_number_range", "the number is not finite", place, remedy="Use null, or a finite number."
        )
    if isinstance(value, int) and value not in _INT64:
        raise StrictJsonError(
            "json_number_range",
            "the integer does not fit into 64 bits",
            place,
            remedy="Write long ids and big numbers as strings.",
        )
