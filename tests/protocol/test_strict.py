"""Poison values of reliability R8: each is refused by name, and at its place."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailor.protocol.strict import MAX_LINE_BYTES, StrictJsonError, parse_strict, pointer

POISON = [
    (b"", "json_invalid", None),
    (b" \n", "json_invalid", None),
    (b"{", "json_invalid", None),
    (b"{'a': 1}", "json_invalid", None),
    (b'{"a": 1} x', "json_invalid", None),
    (b'"a\nb"', "json_invalid", None),
    (b"[NaN]", "json_number_range", "[0]"),
    (b'{"a": {"b": -Infinity}}', "json_number_range", "a.b"),
    (b'{"temperature": 1e999}', "json_number_range", "temperature"),
    (b"[0, 9223372036854775808]", "json_number_range", "[1]"),
    (b"-9223372036854775809", "json_number_range", None),
    (b"[" + b"9" * 5000 + b"]", "json_number_range", "[0]"),
    (b'{"m": [{"c": "\\ud800"}]}', "json_lone_surrogate", "m[0].c"),
    (b'{"\\udc00": 1}', "json_lone_surrogate", '["\\udc00"]'),
    (b'"\\ud83d\\u0041"', "json_lone_surrogate", None),
    (b'{"a": "x\\u0000"}', "json_nul", "a"),
    (b'{"a\\u0000": 1}', "json_nul", '["a\\u0000"]'),
    (b'"\0"', "json_nul", None),
    (b"\xff\xfe{}", "json_not_utf8", None),
    (b'"\xed\xa0\x80"', "json_not_utf8", None),
    (b"[" * 33 + b"]" * 33, "json_too_deep", "[0]" * 32),
    (b"[" * 100_000, "json_too_deep", None),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "json_too_deep", None),
    (b'{"a": 1, "b": {"c": 1, "c": 1}}', "json_duplicate_key", "b.c"),
    (b'"' + b"x" * MAX_LINE_BYTES + b'"', "json_too_large", None),
]


@pytest.mark.parametrize(("data", "code", "place"), POISON)
def test_poison_is_refused_at_its_place(data: bytes, code: str, place: str | None) -> None:
    with pytest.raises(StrictJsonError) as refused:
        parse_strict(data)
    assert (refused.value.code, refused.value.pointer) == (code, place)
    json.dumps(refused.value.to_wire(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbf{}", {}),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775807", 2**63 - 1),
        (b'"\\ud83d\\ude00"', "😀"),
        ('"\u2028 \x85"'.encode(), "\u2028 \x85"),
        (b'{"a": 1, "A": 1}', {"a": 1, "A": 1}),
        (b"1e-999", 0.0),
        (b"[" * 32 + b"]" * 32, json.loads("[" * 32 + "]" * 32)),
        (b'{"' + b"[" * 40 + b'": "{{{"}', {"[" * 40: "{{{"}),
    ],
)
def test_what_is_unusual_but_sound_is_taken(data: bytes, value: object) -> None:
    assert parse_strict(data) == value


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc.[]\u2028é", max_size=3), inner),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON_VALUES, st.booleans())
def test_sound_values_come_out_as_they_went_in(value: object, ascii_only: bool) -> None:
    assert parse_strict(json.dumps(value, ensure_ascii=ascii_only).encode(), max_depth=64) == value


@settings(max_examples=300, deadline=None)
@given(st.binary() | st.text('[]{}:,"\\u0dNaIe19.- ').map(str.encode))
def test_any_bytes_give_a_value_or_our_own_error(data: bytes) -> None:
    try:
        value = parse_strict(data)
    except StrictJsonError as refused:
        assert refused.code
    else:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def test_the_limits_are_the_callers() -> None:
    assert parse_strict(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(StrictJsonError):
        parse_strict(b"[[1]]", max_depth=1)
    with pytest.raises(StrictJsonError):
        parse_strict(b"[1]", max_bytes=2)


def test_places_have_readable_names() -> None:
    assert pointer(pointer(pointer("", "messages"), 2), "content") == "messages[2].content"
    assert pointer("metadata", "two words") == 'metadata["two words"]'


def test_it_is_quick() -> None:
    message = {"role": "user", "content": "Where is my parcel? " * 25}
    line = json.dumps({"messages": [message, message, message]}).encode()
    started = time.perf_counter()
    for _ in range(5_000):
        parse_strict(line)
    assert time.perf_counter() - started < 1.5  # 0.05 s on an idle core; 100,000 rows are a second or two
