"""Streams to clients that are patient, slow, or gone; chunks are put in by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from tailor.errors import Internal
from tailor.inference import Generation, GenerationChunk
from tailor.protocol import ChatCompletion, ChatRequest
from tailor.server.answering import Exchange, Target
from tailor.server.chunks import ChunkStream
from tailor.server.completion import collect
from tailor.server.conversation import read_conversation
from tailor.server.layers import Traffic
from tailor.server.streaming import EventStream

WEATHER = {"type": "function", "function": {"name": "weather"}}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def exchange(*texts: str, **fields: Any) -> Exchange:
    """A request whose answer comes in these pieces."""
    request = ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}], **fields)  # type: ignore[list-item]
    generation = Generation(num_choices=1, on_cancel=lambda: None)
    for text in texts:
        generation.put(GenerationChunk(choice=0, text=text))
    generation.put(GenerationChunk(choice=0, finish_reason="stop", num_tokens=7))
    target = Target(
        name="m", base_digest="a" * 64, version_digest=None, kind="base", directory=Path("/nowhere")
    )
    return Exchange(
        id="chatcmpl-1",
        created=1,
        tenant="t",
        request=request,
        target=target,
        conversation=read_conversation(request),
        num_prompt_tokens=3,
        generation=generation,
    )


def deltas(asked: Exchange) -> list[dict[str, Any]]:
    """The choices of every chunk."""
    kept: list[ChatCompletion] = []

    async def keep(completion: ChatCompletion) -> None:
        kept.append(completion)

    async def run() -> list[bytes]:
        return [event async for event in ChunkStream(exchange=asked, keep=keep)]

    events = asyncio.run(run())
    assert events.pop() == b"data: [DONE]\n\n"
    assert len(kept) == 1
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    return [choice for chunk in chunks for choice in chunk["choices"]]


def test_text_before_a_call_is_shown_and_the_call_comes_as_openai_sends_it() -> None:
    pieces = ("Let me ", "see. <tool", CALL.removeprefix("<tool"))
    choices = deltas(exchange(*pieces, tools=[WEATHER]))
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "Let me see. "
    first, rest, last = choices[-3:]
    call = first["delta"]["tool_calls"][0]
    assert (call["index"], call["type"], call["function"]) == (
        0,
        "function",
        {"name": "weather", "arguments": ""},
    )
    assert call["id"].startswith("call_")
    assert rest["delta"]["tool_calls"][0]["function"] == {"arguments": '{"city": "Rome"}'}
    assert (last["delta"], last["finish_reason"]) == ({}, "tool_calls")


def test_a_call_in_a_whole_answer_has_no_text_beside_it() -> None:
    completion = asyncio.run(collect(exchange(CALL, CALL, tools=[WEATHER])))
    choice = completion.model_dump()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert len(choice["message"]["tool_calls"]) == 2
    one = asyncio.run(collect(exchange(CALL, CALL, tools=[WEATHER], parallel_tool_calls=False)))
    assert len(one.choices[0].message.tool_calls or ()) == 1


def test_the_legacy_form_gets_a_function_call() -> None:
    functions = [WEATHER["function"]]
    choice = asyncio.run(collect(exchange(CALL, functions=functions))).model_dump()["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert "tool_calls" not in choice["message"]
    streamed = deltas(exchange(CALL, functions=functions))
    assert streamed[-2]["delta"]["function_call"]["name"] == "weather"


@pytest.mark.parametrize("text", ["<tool_call>{broken", "<tool_call>{}</tool_call>", "a <tool_", "a < b"])
def test_what_is_no_call_arrives_whole(text: str) -> None:
    for fields in ({}, {"logprobs": True}):
        choices = deltas(exchange(*text, tools=[WEATHER], **fields))
        assert "".join(choice["delta"].get("content") or "" for choice in choices) == text
        assert choices[-1]["finish_reason"] == "stop"


def test_without_tools_such_text_is_only_text() -> None:
    choices = deltas(exchange(CALL))
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == CALL


class Client:
    """The other end of an ASGI stream."""

    def __init__(self, *, reads: int | None = None) -> None:
        self.got: list[Message] = []
        self.gone = asyncio.Event()
        self._reads = reads

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._reads is not None and len(self.got) >= self._reads:
            await asyncio.Event().wait()
        self.got.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)

    @property
    def is_complete(self) -> bool:
        return self.got[-1].get("more_body") is False


class Source:
    """Events that a test controls."""

    def __init__(self, *events: bytes, error: Exception | None = None, stay: bool = False) -> None:
        self.events, self.error, self.stay = events, error, stay
        self.closed = 0
        self.is_finished = False

    def close(self) -> None:
        self.closed += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for event in self.events:
                yield event
            if self.error:
                raise self.error
            if self.stay:
                await asyncio.Event().wait()
        finally:
            self.is_finished = True


async def stream(source: Source, client: Client, traffic: Traffic | None = None, **seconds: float) -> None:
    answer = EventStream(
        aiter(source),
        close=source.close,
        traffic=traffic or Traffic(max_requests=1),
        ping_seconds=seconds.get("ping", 10),
        stall_seconds=seconds.get("stall", 10),
    )
    await asyncio.wait_for(answer({"type": "http", "path": "/"}, client.receive, client.send), 5)
    assert source.closed == 1


def test_a_silent_stream_sends_comments() -> None:
    async def run() -> Client:
        client = Client()
        asyncio.get_running_loop().call_later(0.2, client.gone.set)
        await stream(Source(b"data: 1\n\n", stay=True), client, ping=0.03)
        return client

    client = asyncio.run(run())
    assert client.body.startswith(b"data: 1\n\n: ping\n\n: ping\n\n")


def test_a_whole_stream_ends_cleanly_and_a_broken_one_does_not() -> None:
    async def run(source: Source) -> Client:
        client = Client()
        await stream(source, client)
        return client

    assert asyncio.run(run(Source(b"a"))).is_complete
    for error, code in ((Internal("oh"), "internal_error"), (ValueError("secret"), "internal_error")):
        client = asyncio.run(run(Source(b"a", error=error)))
        assert not client.is_complete
        line = client.body.removeprefix(b"a")
        assert json.loads(line.removeprefix(b"data: "))["error"]["code"] == code
        assert b"secret" not in client.body


def test_a_client_that_leaves_or_does_not_read_ends_the_work() -> None:
    async def run(client: Client, source: Source) -> None:
        if client._reads is None:
            client.gone.set()
        await stream(source, client, stall=0.05)

    for client, source in (
        (Client(), Source(stay=True)),
        (Client(reads=2), Source(*[b"x"] * 10)),
        (Client(reads=0), Source(b"x")),
    ):
        asyncio.run(run(client, source))
        assert not client.got or not client.is_complete


def test_a_stopping_server_tells_its_streams() -> None:
    async def run() -> Client:
        client, traffic = Client(), Traffic(max_requests=1)
        asyncio.get_running_loop().call_later(0.05, traffic.cut.set)
        await stream(Source(b"a", stay=True), client, traffic)
        return client

    client = asyncio.run(run())
    assert b'"code":"server_stopping"' in client.body
    assert not client.is_complete
