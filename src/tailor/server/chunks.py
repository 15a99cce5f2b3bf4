"""An answer in the making as `chat.completion.chunk` events (contract 1.8)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tailor.protocol import ChatCompletion
from tailor.server.answering import Exchange
from tailor.server.completion import completion_of, logprobs_of, tool_call, usage_of
from tailor.server.tool_calls import read_calls, settled

if TYPE_CHECKING:
    from tailor.inference import GenerationChunk

JsonObject = dict[str, Any]


def as_event(data: JsonObject) -> bytes:
    """One unnamed server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


@dataclass(kw_only=True, slots=True)
class _Choice:
    """One of the answers, as far as it has come."""

    index: int
    whole: GenerationChunk | None = None
    num_sent: int = 0
    """Characters of the text already sent."""

    @property
    def text(self) -> str:
        return self.whole.text if self.whole else ""


@dataclass(kw_only=True, slots=True)
class ChunkStream:
    """The events of one exchange."""

    exchange: Exchange
    keep: Callable[[ChatCompletion], Coroutine[Any, Any, None]]
    """Called with the whole answer before the stream says that it is done."""
    choices: dict[int, _Choice] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for index in range(self.exchange.request.n or 1):
            self.choices[index] = _Choice(index=index)
            yield self._event(index, {"role": "assistant", "content": ""})
        try:
            async for chunk in self.exchange.generation:
                for event in self._advance(chunk):
                    yield event
        finally:
            self.exchange.generation.cancel()
        answers = [choice.whole for choice in self.choices.values() if choice.whole]
        await self.keep(completion_of(self.exchange, answers))
        if self._includes_usage:
            usage = usage_of(self.exchange, sum(answer.num_tokens for answer in answers))
            yield as_event(self._frame() | {"choices": [], "usage": usage.model_dump()})
        yield DONE

    @property
    def _includes_usage(self) -> bool:
        options = self.exchange.request.stream_options
        return bool(options and options.include_usage)

    def _advance(self, chunk: GenerationChunk) -> Iterator[bytes]:
        choice = self.choices[chunk.choice]
        choice.whole = chunk if choice.whole is None else choice.whole + chunk
        if not self.exchange.conversation.tools:
            if chunk.text or chunk.logprobs:
                yield self._event(chunk.choice, {"content": chunk.text}, logprobs=chunk)
            if chunk.finish_reason:
                yield self._event(chunk.choice, {}, finish=chunk.finish_reason)
        elif chunk.finish_reason:
            yield from self._finish_with_tools(choice, chunk.finish_reason)
        elif not self.exchange.request.logprobs:
            # Log-probabilities belong to text alone, so with them everything waits for the end.
            yield from self._send_through(choice, settled(choice.text))

    def _finish_with_tools(self, choice: _Choice, finish: str) -> Iterator[bytes]:
        conversation = self.exchange.conversation
        said = read_calls(choice.text, conversation.tool_names, one_call=conversation.one_call)
        if not said.calls:
            if self.exchange.request.logprobs:
                yield self._event(choice.index, {"content": choice.text}, logprobs=choice.whole)
            else:
                yield from self._send_through(choice, len(choice.text))
            yield self._event(choice.index, {}, finish=finish)
            return
        if conversation.is_legacy:
            yield self._event(choice.index, {"function_call": said.calls[0].model_dump()})
            yield self._event(choice.index, {}, finish="function_call")
            return
        for number, function in enumerate(said.calls):
            call = {"index": number} | tool_call(function).model_dump()
            opening = call | {"function": {"name": function.name, "arguments": ""}}
            yield self._event(choice.index, {"tool_calls": [opening]})
            rest = {"index": number, "function": {"arguments": function.arguments}}
            yield self._event(choice.index, {"tool_calls": [rest]})
        yield self._event(choice.index, {}, finish="tool_calls")

    def _send_through(self, choice: _Choice, end: int) -> Iterator[bytes]:
        """The text up to `end` that has not been sent yet."""
        if end > choice.num_sent:
            yield self._event(choice.index, {"content": choice.text[choice.num_sent : end]})
            choice.num_sent = end

    def _frame(self) -> JsonObject:
        exchange = self.exchange
        frame: JsonObject = {
            "id": exchange.id,
            "object": "chat.completion.chunk",
            "created": exchange.created,
            "model": exchange.target.name,
            "service_tier": "default",
            "system_fingerprint": exchange.fingerprint,
        }
        return frame | {"usage": None} if self._includes_usage else frame

    def _event(
        self,
        index: int,
        delta: JsonObject,
        *,
        finish: str | None = None,
        logprobs: GenerationChunk | None = None,
    ) -> bytes:
        shown = None
        if self.exchange.request.logprobs and logprobs is not None:
            shown = logprobs_of(logprobs.logprobs).model_dump()
        choice = {"index": index, "delta": delta, "logprobs": shown, "finish_reason": finish}
        return as_event(self._frame() | {"choices": [choice]})
