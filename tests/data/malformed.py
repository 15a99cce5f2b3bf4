"""Seeded files of training data: sound ones of every allowed kind, and ones with one known fault.

A fault changes either the row (an object) or the line (bytes) at a known place of a sound file, and says
which problem code the check must answer with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Row = dict[str, Any]

TEXT = (
    "please send the green parcel to our new house near river because old kitchen was sold in spring and "
    "nobody told grandmother about it façade naïve über 東京 привет emoji 😀 line\u2028separator tab\there "
    'quote " backslash \\ slash / <tag> {brace} [bracket] \u00a0 \u0085 \u200b end'
)
WORDS = TEXT.split(" ")


def words(random: Random, fewest: int = 3, most: int = 30) -> str:
    return " ".join([*random.choices(WORDS, k=random.randint(fewest, most)), "now"])


def call(name: str = "weather", arguments: str = '{"city": "Rome"}', call_id: str = "call_1") -> Row:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str = "weather") -> Row:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


# --- sound rows -------------------------------------------------------------------------------------


def plain(random: Random) -> Row:
    opening = [{"role": random.choice(["system", "developer"]), "content": words(random)}]
    question = {"role": "user", "content": words(random)}
    return {
        "messages": [
            *opening[: random.randint(0, 1)],
            question,
            {"role": "assistant", "content": words(random)},
        ]
    }


def several_turns(random: Random) -> Row:
    row = plain(random)
    for _ in range(random.randint(1, 4)):
        row["messages"] += [
            {"role": "user", "content": words(random), "name": "ann"},
            {"role": "assistant", "content": words(random)},
        ]
    return row


def weighted(random: Random) -> Row:
    row = several_turns(random)
    for message in row["messages"]:
        if message["role"] == "assistant":
            message["weight"] = random.choice([0, 1, None, 1.0])
    row["messages"][-1]["weight"] = 1
    return row


def in_parts(random: Random) -> Row:
    row = several_turns(random)
    for message in row["messages"]:
        message["content"] = [{"type": "text", "text": words(random)} for _ in range(random.randint(1, 3))]
    return row


def with_tools(random: Random) -> Row:
    two = random.random() < 0.5
    calls = [call(), call("time", "{}", "call_2")][: 1 + two]
    results = [{"role": "tool", "tool_call_id": item["id"], "content": words(random)} for item in calls]
    random.shuffle(results)
    messages = [
        {"role": "user", "content": words(random)},
        {"role": "assistant", "content": random.choice([None, "", "Let me see."]), "tool_calls": calls},
        *results,
        {"role": "assistant", "content": words(random)},
    ]
    if random.random() < 0.5:
        messages += [{"role": "user", "content": "And now?"}, {"role": "assistant", "tool_calls": [call()]}]
    return {"messages": messages, "tools": [tool(), tool("time")], "parallel_tool_calls": two}


def legacy_functions(random: Random) -> Row:
    return {
        "messages": [
            {"role": "user", "content": words(random)},
            {"role": "assistant", "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
            {"role": "function", "name": "weather", "content": "rain"},
            {"role": "assistant", "content": words(random)},
        ],
        "functions": [tool()["function"]],
    }


def completion(random: Random) -> Row:
    return {"prompt": words(random), "completion": " " + words(random)}


def with_extras(random: Random) -> Row:
    row = plain(random)
    row["messages"][-1] |= {"refusal": None, "annotations": [], "tool_calls": None, "audio": None}
    return row | {"id": random.randint(0, 2**63 - 1), "score": -1.5e-7, "metadata": {"source": words(random)}}


SOUND_ROWS = (plain, several_turns, weighted, in_parts, with_tools, legacy_functions, completion, with_extras)


def sound_file(seed: int) -> bytes:
    """A file that nothing is wrong with, in one of the spellings that JSON Lines and JSON allow."""
    random = Random(seed)
    kinds = random.choice([SOUND_ROWS, (random.choice(SOUND_ROWS),)])
    rows = [random.choice(kinds)(random) for _ in range(random.randint(10, 30))]
    lines = [_spelled(row, random) for row in rows]
    end = random.choice([b"\n", b"\n", b"\r\n"])
    data = end.join(lines) + random.choice([b"", end, end + end, end + b"  " + end])
    return random.choice([b"", b"", b"", b"\xef\xbb\xbf"]) + data


def _spelled(row: Row, random: Random) -> bytes:
    separators = random.choice([(",", ":"), (", ", ": "), (" ,\t", " : ")])
    text = json.dumps(row, ensure_ascii=random.random() < 0.5, separators=separators)
    return (random.choice(["", "", " ", "\t"]) + text + random.choice(["", "", " "])).encode()


# --- faults -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One way of being wrong."""

    name: str
    code: str
    change: Callable[[Row, Random], Any]
    """Gets a sound row to change in place; may return what replaces it: a JSON value, or a line as bytes."""
    base: Callable[[Random], Row] = plain
    field: str | None = None


def _set(key: str, value: Any, index: int = -1) -> Callable[[Row, Random], None]:
    def change(row: Row, _random: Random) -> None:
        row["messages"][index][key] = value

    return change


def _drop(key: str, index: int = -1) -> Callable[[Row, Random], None]:
    def change(row: Row, _random: Random) -> None:
        row["messages"][index].pop(key, None)

    return change


def _top(key: str, value: Any) -> Callable[[Row, Random], None]:
    def change(row: Row, _random: Random) -> None:
        row[key] = value

    return change


def _instead(value: Any) -> Callable[[Row, Random], Any]:
    return lambda _row, _random: value


def _planted(raw: bytes) -> Callable[[Row, Random], bytes]:
    """Put raw bytes where a further value of the row stands."""

    def change(row: Row, _random: Random) -> bytes:
        return json.dumps(row | {"planted": "@"}).encode().replace(b'"@"', raw)

    return change


def _truncated(row: Row, random: Random) -> bytes:
    line = json.dumps(row).encode()
    return line[: random.randint(1, len(line) - 1)]


def _last_dropped(row: Row, _random: Random) -> None:
    row["messages"].pop()


def _answers_removed(row: Row, _random: Random) -> None:
    row["messages"] = [message for message in row["messages"] if message["role"] != "assistant"]


def _all_weights_zero(row: Row, _random: Random) -> None:
    for message in row["messages"]:
        if message["role"] == "assistant":
            message["weight"] = 0


def _swapped(row: Row, _random: Random) -> None:
    row["messages"][-1], row["messages"][-2] = row["messages"][-2], row["messages"][-1]


def _first_call(key: str, value: Any) -> Callable[[Row, Random], None]:
    def change(row: Row, _random: Random) -> None:
        row["messages"][1]["tool_calls"][0][key] = value

    return change


def _first_function(key: str, value: Any) -> Callable[[Row, Random], None]:
    def change(row: Row, _random: Random) -> None:
        row["messages"][1]["tool_calls"][0]["function"][key] = value

    return change


def _wrong_result_id(row: Row, _random: Random) -> None:
    row["messages"][2]["tool_call_id"] = "call_9"


def _result_before_call(row: Row, _random: Random) -> None:
    row["messages"][1], row["messages"][2] = row["messages"][2], row["messages"][1]


def _result_removed(row: Row, _random: Random) -> None:
    row["messages"] = [message for message in row["messages"] if message["role"] not in ("tool", "function")]


def _result_twice(row: Row, _random: Random) -> None:
    row["messages"].insert(3, row["messages"][2])


def _one_id_twice(row: Row, _random: Random) -> None:
    row["messages"] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call(), call()]},
    ]


def _image(row: Row, _random: Random) -> None:
    row["messages"][-2]["content"] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]


def _python_literal(row: Row, _random: Random) -> bytes:
    return repr(row).encode()


def _two_rows(row: Row, _random: Random) -> bytes:
    return json.dumps(row).encode() + b" " + json.dumps(row).encode()


def _pretty_printed_start(_row: Row, _random: Random) -> bytes:
    return b"["


def _preference(row: Row, _random: Random) -> Row:
    answer = [row["messages"][-1]]
    return {
        "input": {"messages": row["messages"][:-1]},
        "preferred_output": answer,
        "non_preferred_output": answer,
    }


FAULTS = (
    # bytes and characters
    Fault("not UTF-8", "json_not_utf8", _planted(b'"\xff\xfe"')),
    Fault("Latin-1", "json_not_utf8", _planted(b'"caf\xe9"')),
    Fault("an encoded surrogate", "json_not_utf8", _planted(b'"\xed\xa0\x80"')),
    Fault("an over-long encoding", "json_not_utf8", _planted(b'"\xc0\xaf"')),
    Fault("UTF-16 in the middle", "json_nul", lambda row, _: json.dumps(row).encode("utf-16-le")),
    Fault("a raw NUL", "json_nul", _planted(b'"\0"')),
    Fault("an escaped NUL", "json_nul", _planted(b'"\\u0000"'), field="planted"),
    Fault("a lone high surrogate", "json_lone_surrogate", _planted(b'"\\ud83d"'), field="planted"),
    Fault("a lone low surrogate", "json_lone_surrogate", _planted(b'["\\uDE00 x"]'), field="planted[0]"),
    Fault("a surrogate in a key", "json_lone_surrogate", _planted(b'{"\\udfff": 1}')),
    Fault("a raw line feed as \\x0b", "json_invalid", _planted(b'"\x0b"')),
    # JSON
    Fault("truncated", "json_invalid", _truncated),
    Fault("Python instead of JSON", "json_invalid", _python_literal),
    Fault("two rows on a line", "json_invalid", _two_rows),
    Fault("a comma at the end", "json_invalid", _planted(b'"x",')),
    Fault("a comment", "json_invalid", _planted(b"1 // one")),
    Fault("plain text", "json_invalid", _instead(b"hello there")),
    Fault("a CSV header", "json_invalid", _instead(b"prompt,completion")),
    Fault("the start of a pretty-printed list", "json_invalid", _pretty_printed_start),
    Fault("a bare word", "json_invalid", _planted(b"yes")),
    Fault("a leading zero", "json_invalid", _planted(b"007")),
    Fault("an unescaped tab", "json_invalid", _planted(b'"a\tb"')),
    Fault("NaN", "json_number_range", _planted(b"NaN"), field="planted"),
    Fault("minus Infinity", "json_number_range", _planted(b"[-Infinity]"), field="planted[0]"),
    Fault("1e999", "json_number_range", _planted(b"1e999"), field="planted"),
    Fault("2**63", "json_number_range", _planted(b"9223372036854775808"), field="planted"),
    Fault("-2**63 - 1", "json_number_range", _planted(b"-9223372036854775809"), field="planted"),
    Fault("5,000 digits", "json_number_range", _planted(b"7" * 5000), field="planted"),
    Fault("depth 33", "json_too_deep", _planted(b"[" * 32 + b"]" * 32)),
    Fault("depth 100,000", "json_too_deep", _planted(b"[" * 100_000 + b"]" * 100_000)),
    Fault("depth 100,000 and no end", "json_too_deep", _instead(b'{"a":' * 100_000)),
    Fault("a key twice", "json_duplicate_key", _planted(b'{"a": 1, "b": 2, "a": 3}'), field="planted.a"),
    Fault(
        "messages twice",
        "json_duplicate_key",
        lambda row, _: b'{"messages": [], ' + json.dumps(row).encode()[1:],
        field="messages",
    ),
    Fault("a huge line", "line_too_long", _planted(b'"' + b"x" * (4 * 2**20) + b'"')),
    Fault("a list", "not_an_object", _instead([1, 2])),
    Fault("a number", "not_an_object", _instead(5)),
    Fault("null", "not_an_object", _instead(b"null")),
    Fault("a string", "not_an_object", _instead("hello")),
    # rows
    Fault("an empty object", "missing_messages", _instead({})),
    Fault("another format", "missing_messages", _instead({"instruction": "x", "output": "y"})),
    Fault("ShareGPT", "missing_messages", _instead({"conversations": [{"from": "human", "value": "x"}]})),
    Fault("a preference pair", "preference_format", _preference),
    Fault("no messages", "empty_messages", _top("messages", []), field="messages"),
    Fault("messages as text", "wrong_type", _top("messages", "hello"), field="messages"),
    Fault("messages null", "wrong_type", _top("messages", None), field="messages"),
    Fault("a prompt that is a number", "wrong_type", _top("prompt", 3), completion, "prompt"),
    Fault(
        "an empty completion", "assistant_without_content", _top("completion", " "), completion, "completion"
    ),
    # messages
    Fault(
        "a message as text", "wrong_type", lambda row, _: row["messages"].insert(0, "hi"), field="messages[0]"
    ),
    Fault("an unknown role", "unknown_role", _set("role", "bot"), several_turns),
    Fault("a role in capitals", "unknown_role", _set("role", "User", 0), several_turns, "messages[0].role"),
    Fault("no role", "missing_role", _drop("role"), several_turns),
    Fault("a role that is a number", "wrong_type", _set("role", 1), several_turns),
    Fault("no content", "missing_content", _drop("content", -2)),
    Fault("content null", "missing_content", _set("content", None, -2)),
    Fault("content that is a number", "wrong_type", _set("content", 3, -2)),
    Fault("content that is an object", "wrong_type", _set("content", {"text": "x"})),
    Fault("an empty answer", "assistant_without_content", _set("content", "")),
    Fault("an answer of spaces", "assistant_without_content", _set("content", " \n")),
    Fault("an answer of no parts", "assistant_without_content", _set("content", [])),
    Fault("an answer without content", "assistant_without_content", _drop("content")),
    Fault("an image", "image_unsupported", _image),
    Fault("sound", "content_part_unsupported", _set("content", [{"type": "input_audio"}], -2)),
    Fault("a part without text", "wrong_type", _set("content", [{"type": "text"}], -2)),
    Fault("no assistant", "no_assistant_message", _answers_removed),
    Fault("the answer is missing", "last_message_not_assistant", _last_dropped, several_turns),
    Fault("roles in the wrong order", "last_message_not_assistant", _swapped),
    Fault("weight true", "weight_not_0_or_1", _set("weight", True)),
    Fault("weight 0.5", "weight_not_0_or_1", _set("weight", 0.5)),
    Fault("weight as text", "weight_not_0_or_1", _set("weight", "1")),
    Fault("weight 2", "weight_not_0_or_1", _set("weight", 2)),
    Fault("a weight on a question", "weight_on_wrong_role", _set("weight", 1, -2)),
    Fault("all weights 0", "nothing_to_learn", _all_weights_zero, several_turns),
    # tools
    Fault("a call without id", "malformed_tool_call", _first_call("id", None), with_tools),
    Fault("a call of another type", "malformed_tool_call", _first_call("type", "tool"), with_tools),
    Fault("a call without function", "malformed_tool_call", _first_call("function", None), with_tools),
    Fault("a call without name", "malformed_tool_call", _first_function("name", ""), with_tools),
    Fault(
        "arguments as object",
        "malformed_tool_call",
        _first_function("arguments", {"city": "Rome"}),
        with_tools,
    ),
    Fault(
        "arguments not JSON", "malformed_tool_call", _first_function("arguments", "{city: Rome}"), with_tools
    ),
    Fault(
        "arguments with NaN", "malformed_tool_call", _first_function("arguments", '{"x": NaN}'), with_tools
    ),
    Fault("arguments too deep", "malformed_tool_call", _first_function("arguments", "[" * 9999), with_tools),
    Fault("one id twice", "malformed_tool_call", _one_id_twice),
    Fault(
        "calls as object",
        "wrong_type",
        lambda row, _: row["messages"][1].update(tool_calls=call()),
        with_tools,
    ),
    Fault("a result for another call", "tool_result_without_call", _wrong_result_id, with_tools),
    Fault("a result before its call", "tool_result_without_call", _result_before_call, with_tools),
    Fault("a result twice", "tool_result_without_call", _result_twice, legacy_functions),
    Fault("a result without id", "tool_result_without_call", _drop("tool_call_id", 2), with_tools),
    Fault("no result", "tool_call_without_result", _result_removed, with_tools),
    Fault("no legacy result", "tool_call_without_result", _result_removed, legacy_functions),
    Fault("a call by the user", "tool_call_on_wrong_role", _set("tool_calls", [call()], 0), with_tools),
    Fault("tools as object", "wrong_type", _top("tools", {"type": "function"}), with_tools, "tools"),
    Fault(
        "a tool without name",
        "malformed_tools",
        _top("tools", [{"type": "function", "function": {}}]),
        with_tools,
    ),
    Fault(
        "a function as text",
        "malformed_tools",
        _top("functions", ["weather"]),
        legacy_functions,
        "functions[0]",
    ),
    Fault(
        "parallel as text",
        "wrong_type",
        _top("parallel_tool_calls", "yes"),
        with_tools,
        "parallel_tool_calls",
    ),
)


@dataclass(frozen=True)
class MalformedFile:
    """A file with one fault, and where it is."""

    data: bytes
    line: int
    fault: Fault


def malformed_file(seed: int) -> MalformedFile:
    """A sound file in which one line has been given the fault number `seed` (modulo their count)."""
    random = Random(seed)
    fault = FAULTS[seed % len(FAULTS)]
    lines = [_spelled(random.choice(SOUND_ROWS)(random), random) for _ in range(random.randint(12, 20))]
    place = random.randrange(len(lines))
    row = fault.base(random)
    changed = fault.change(row, random)
    bad = changed if isinstance(changed, bytes) else json.dumps(row if changed is None else changed).encode()
    # A blank line and U+2028 before the fault must not shift its number.
    lines[place] = bad
    blanks = random.randint(0, 2)
    end = b"\r\n" if random.random() < 0.3 else b"\n"
    lines[place:place] = [b""] * blanks
    data = end.join(lines) + random.choice([b"", end])
    return MalformedFile(data=data, line=place + blanks + 1, fault=fault)
