"""Chat as users of the hosted API have it: whole and streamed."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tailor.server import EmbeddedServer
from tailor.store import Job

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me about the weather in Rome."}]


def whole(client: openai.OpenAI, **settings: Any) -> ChatCompletion:
    asked: dict[str, Any] = {"model": "tailor-mini-2", "messages": ASK, "max_tokens": 16, "seed": 1}
    asked |= settings
    answer: ChatCompletion = client.chat.completions.create(**asked)
    return answer


def chunks(client: openai.OpenAI, **settings: Any) -> list[Any]:
    asked: dict[str, Any] = {"model": "tailor-mini-2", "messages": ASK, "max_tokens": 16, "seed": 1}
    asked |= settings
    return list(client.chat.completions.create(stream=True, **asked))


def running(client: openai.OpenAI) -> int:
    figures = client.get("/tailor/server", cast_to=httpx2.Response).json()
    return int(figures["engine"]["running"])


def test_an_answer_has_text_usage_and_the_reason_why_it_ended(client: openai.OpenAI) -> None:
    answer = whole(client, temperature=0, max_tokens=4)
    assert answer.model == "tailor-mini-2"
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 4


def test_a_stream_says_the_same_as_the_whole_answer(client: openai.OpenAI) -> None:
    answer = whole(client, n=2)
    for index in range(2):
        parts = [chunk.choices[0] for chunk in chunks(client, n=2) if chunk.choices[0].index == index]
        assert parts[0].delta.role == "assistant"
        assert parts[0].delta.content == ""
        assert "".join(part.delta.content or "" for part in parts) == answer.choices[index].message.content
        assert [part.finish_reason for part in parts][:-1] == [None] * (len(parts) - 1)
        assert parts[-1].finish_reason == answer.choices[index].finish_reason
        assert parts[-1].delta.to_dict() == {}


def test_the_wire_of_a_stream_is_openais(http: httpx2.Client) -> None:
    body = {"model": "gpt-4o", "messages": ASK, "max_tokens": 3, "stream": True}
    for options, has_usage in (({}, False), ({"include_usage": True}, True)):
        answer = http.post("/v1/chat/completions", json=body | {"stream_options": options})
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = answer.text.split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        sent = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in sent}) == 1
        assert all(chunk["object"] == "chat.completion.chunk" for chunk in sent)
        if has_usage:
            assert sent[-1]["choices"] == []
            assert sent[-1]["usage"]["completion_tokens"] == 3
            assert all(chunk["usage"] is None for chunk in sent[:-1])
            sent = sent[:-1]
        else:
            assert all("usage" not in chunk for chunk in sent)
        assert all(chunk["choices"] for chunk in sent)


def test_the_bytes_of_the_logprobs_are_the_text(client: openai.OpenAI) -> None:
    for settings in ({}, {"stop": ["e"]}, {"stop": [" ", "a"]}):
        answer = whole(client, logprobs=True, top_logprobs=3, temperature=1.5, max_tokens=40, **settings)
        choice = answer.choices[0]
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        spelled = b"".join(bytes(token.bytes or ()) for token in choice.logprobs.content)
        assert spelled.decode() == choice.message.content
        assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)
        streamed = chunks(client, logprobs=True, temperature=1.5, max_tokens=40, **settings)
        parts = [token for chunk in streamed for token in (chunk.choices[0].logprobs or _NO).content or ()]
        assert b"".join(bytes(token.bytes) for token in parts) == spelled


class _NO:
    content: list[Any] = []


def test_stop_texts_end_the_answer_and_are_not_part_of_it(client: openai.OpenAI) -> None:
    text = whole(client, temperature=0).choices[0].message.content or ""
    stop = text[3:6]
    answer = whole(client, temperature=0, stop=stop)
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_a_seed_makes_answers_repeatable_and_the_answers_of_one_request_differ(client: openai.OpenAI) -> None:
    first = whole(client, n=3, temperature=1.2)
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert [choice.message.content for choice in whole(client, n=3, temperature=1.2).choices] == texts
    assert [choice.message.content for choice in whole(client, n=3, temperature=1.2, seed=2).choices] != texts


def test_bias_and_penalties_change_the_answer(client: openai.OpenAI) -> None:
    plain = whole(client, temperature=0, logprobs=True)
    assert plain.choices[0].message.content
    banned = {str(token): -100 for token in range(5000)}
    assert whole(client, temperature=0, logit_bias=banned).choices[0].message.content != (
        plain.choices[0].message.content
    )


def test_a_tuned_model_answers_under_its_name_and_not_as_its_base(client: openai.OpenAI, tuned: Job) -> None:
    base = whole(client, temperature=0)
    answer = whole(client, model=tuned.fine_tuned_model, temperature=0)
    assert answer.model == tuned.fine_tuned_model
    assert answer.system_fingerprint != base.system_fingerprint
    assert answer.choices[0].message.content != base.choices[0].message.content
    checkpoint = client.fine_tuning.jobs.checkpoints.list(tuned.id).data[0].fine_tuned_model_checkpoint
    earlier = whole(client, model=checkpoint, temperature=0)
    assert earlier.choices[0].message.content != answer.choices[0].message.content


def test_requests_in_parallel_get_their_own_answers(client: openai.OpenAI, tuned: Job) -> None:
    models = ["tailor-mini-2", str(tuned.fine_tuned_model)] * 8
    alone = {model: whole(client, model=model, temperature=0).choices[0].message.content for model in models}
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda model: whole(client, model=model, temperature=0), models))
    assert [answer.choices[0].message.content for answer in together] == [alone[model] for model in models]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": "none"}, "model", "model_not_found"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0]",
            "unsupported_content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]",
            "unsupported_content",
        ),
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, "messages", "context_length_exceeded"),
        ({"max_tokens": 5000}, "messages", "context_length_exceeded"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 129}, "n", "invalid_value"),
        ({"n": 100}, "n", None),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
        ({"stop": [""]}, "stop", None),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"logit_bias": {"foo": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "unsupported_parameter"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}, None, None),
        ({"tools": [{"type": "custom"}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_value"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_value"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_honoured_is_refused_before_the_stream_begins(
    http: httpx2.Client, change: dict[str, Any], param: str | None, code: str | None, stream: bool
) -> None:
    body = {"model": "tailor-mini-2", "messages": ASK, "stream": stream} | change
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert param in (None, error["param"]), error
    assert code in (None, error["code"])


def test_what_only_concerns_openais_own_service_is_ignored(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "developer", "content": [{"type": "text", "text": "hi"}]}],
        max_completion_tokens=2,
        audio={"format": "wav", "voice": "alloy"},
        modalities=["text"],
        parallel_tool_calls=True,
        prediction={"type": "content", "content": "x"},
        prompt_cache_key="k",
        reasoning_effort="low",
        response_format={"type": "text"},
        safety_identifier="s",
        service_tier="auto",
        tool_choice="none",
        tools=[{"type": "function", "function": {"name": "f"}}],
        user="u",
        verbosity="low",
        extra_body={"something_new": {"a": [1]}},
    )
    assert answer.choices[0].message.role == "assistant"


def test_a_stored_completion_is_kept_until_it_is_deleted(client: openai.OpenAI, http: httpx2.Client) -> None:
    made = whole(client, store=True, metadata={"run": "stored-1"})
    unkept = whole(client, metadata={"run": "stored-1"})
    stored = client.chat.completions.list(metadata={"run": "stored-1"}).data
    assert [completion.id for completion in stored] == [made.id]
    assert unkept.id != made.id
    assert client.chat.completions.retrieve(made.id).choices == made.choices
    # Not through the strict client: its type only knows assistant messages here.
    messages = http.get(f"/v1/chat/completions/{made.id}/messages").json()["data"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", ASK[0].get("content"))
    ]
    changed = client.chat.completions.update(made.id, metadata={"run": "stored-2"})
    assert changed.id == made.id
    assert client.chat.completions.list(metadata={"run": "stored-1"}).data == []
    assert client.chat.completions.list(metadata={"run": "stored-2"}, model="tailor-mini-2").data
    assert client.chat.completions.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(made.id)


def test_a_streamed_completion_can_be_stored_too(client: openai.OpenAI) -> None:
    streamed = chunks(client, store=True, temperature=0, metadata={"run": "streamed"})
    stored = client.chat.completions.retrieve(streamed[0].id)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert stored.choices[0].message.content == text


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(
    client: openai.OpenAI, server: EmbeddedServer, stream: bool
) -> None:
    long = {"model": "tailor-mini-2", "messages": ASK, "n": 60, "temperature": 2, "stream": stream}
    body = json.dumps(long | {"logit_bias": {"2": -100}}).encode()
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + body)
        deadline = time.monotonic() + 10
        while running(client) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert running(client) > 0
    left = time.monotonic()
    while running(client) and time.monotonic() < left + 10:
        time.sleep(0.01)
    assert time.monotonic() - left < 3, "the answer went on for nobody"
