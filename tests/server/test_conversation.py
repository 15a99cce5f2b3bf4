"""Requests turned into conversations, and calls found in answers."""

from __future__ import annotations

from typing import Any

import pytest

from tailor.errors import InvalidRequest
from tailor.protocol import ChatRequest
from tailor.server.conversation import Conversation, read_conversation
from tailor.server.tool_calls import read_calls, settled

WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def read(**fields: Any) -> Conversation:
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    return read_conversation(ChatRequest(model="m", messages=messages, **fields))


def test_text_parts_are_joined_as_training_joins_them() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]
    assert read(messages=[{"role": "user", "content": parts}]).messages[0]["content"] == "a b"


def test_legacy_functions_become_tools() -> None:
    conversation = read(functions=[WEATHER], function_call="auto")
    assert conversation.tools == ({"type": "function", "function": WEATHER},)
    assert conversation.is_legacy
    assert conversation.tool_names == {"weather"}


def test_legacy_calls_and_results_are_rewritten() -> None:
    call = {"name": "weather", "arguments": "{}"}
    conversation = read(
        messages=[
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": call}],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": "c"},
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "weather", "content": "sunny"},
        ]
    )
    assert [message["role"] for message in conversation.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert conversation.messages[3]["tool_calls"][0]["function"] == call


def test_tools_are_not_offered_when_none_may_be_called() -> None:
    tools = [{"type": "function", "function": WEATHER}]
    assert read(tools=tools).tools
    assert not read(tools=tools, tool_choice="none").tools
    assert not read(functions=[WEATHER], function_call="none").tools


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_cannot_be_forced(choice: Any) -> None:
    with pytest.raises(InvalidRequest, match="cannot force a call"):
        read(tools=[{"type": "function", "function": WEATHER}], tool_choice=choice)


def test_calls_are_found_in_an_answer() -> None:
    text = (
        'Let me see.\n<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}\n</tool_call>'
    )
    said = read_calls(text, frozenset({"weather"}), one_call=False)
    assert said.content == "Let me see."
    assert [call.arguments for call in said.calls] == ['{"city": "Rome"}', '{"city": "Oslo"}']
    assert len(read_calls(text, frozenset({"weather"}), one_call=True).calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "<tool_call>",
        "<tool_call>nonsense</tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "weather"}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {"a": NaN}}</tool_call>',
        "<tool_call>[1]</tool_call>",
        "<tool_call>1</tool_call>",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    said = read_calls(text, frozenset({"weather"}), one_call=False)
    assert (said.content, said.calls) == (text, ())


def test_growing_text_is_shown_until_it_could_be_a_call() -> None:
    assert settled("hello") == 5
    assert settled("hello <") == 6
    assert settled("hello <tool_c") == 6
    assert settled("a <b") == 4
    assert settled('x <tool_call>{"name"') == 2
