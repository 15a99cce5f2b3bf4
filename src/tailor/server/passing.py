"""Chat requests for an upstream's model, passed on: whole, or as the pieces come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from tailor.inference.upstreams import UpstreamModel, UpstreamStream
from tailor.protocol import ChatCompletion, ChatRequest, new_id
from tailor.server.asking import as_completion
from tailor.server.chunks import DONE, as_event

JsonObject = dict[str, Any]


@dataclass(kw_only=True, slots=True)
class PassedStream:
    """The events of an upstream's stream, under our name for its model."""

    request: ChatRequest
    model: UpstreamModel
    stream: UpstreamStream
    keep: Callable[[ChatCompletion], Awaitable[None]]
    """Called with the whole answer before the stream says that it is done."""
    _pieces: dict[int, _Pieces] = field(default_factory=dict)
    _usage: Any = None
    _closing: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        options = self.request.stream_options
        wants_usage = bool(options and options.include_usage)
        async with aclosing(aiter(self.stream)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                self._note(chunk)
                if wants_usage:
                    yield as_event(chunk)
                elif chunk["choices"]:
                    yield as_event({key: value for key, value in chunk.items() if key != "usage"})
        await self.keep(self._completion())
        yield DONE

    def close(self) -> None:
        """Let go of the upstream, whether or not anything was read."""
        self._closing = asyncio.ensure_future(self.stream.close())

    def _note(self, chunk: JsonObject) -> None:
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk["choices"]:
            if isinstance(choice, dict):
                index = choice.get("index")
                self._pieces.setdefault(index if isinstance(index, int) else 0, _Pieces()).add(choice)

    def _completion(self) -> ChatCompletion:
        choices = [self._pieces[index].whole() for index in sorted(self._pieces)]
        answer = {"id": new_id("completion"), "created": int(time.time()), "choices": choices}
        return as_completion(answer | {"usage": self._usage}, self.model)


@dataclass(kw_only=True, slots=True)
class _Pieces:
    """One of the answers, as far as it has come."""

    text: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish: str | None = None

    def add(self, choice: JsonObject) -> None:
        self.finish = choice.get("finish_reason") or self.finish
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        if isinstance(delta.get("content"), str):
            self.text.append(delta["content"])
        for call in delta.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                known = self.calls.setdefault(call.get("index") or 0, {"id": "", "name": "", "arguments": ""})
                known["id"] = str(call.get("id") or known["id"])
                known["name"] += str(function.get("name") or "")
                known["arguments"] += str(function.get("arguments") or "")

    def whole(self) -> JsonObject:
        calls = [
            {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in self.calls.values()
        ]
        content = "".join(self.text) if self.text or not calls else None
        return {"message": {"content": content, "tool_calls": calls}, "finish_reason": self.finish}
