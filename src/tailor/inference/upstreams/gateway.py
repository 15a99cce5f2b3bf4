"""Asks upstreams: limits kept, answers checked, what they cost counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tailor.errors import NotFound, TailorError
from tailor.inference.upstreams.answers import (
    counts_of,
    counts_of_chat,
    guessed_tokens,
    is_completion,
    is_embedding,
)
from tailor.inference.upstreams.config import Upstream, UpstreamModel
from tailor.inference.upstreams.peers import JsonObject, Peer, events, in_our_words, parsed
from tailor.inference.upstreams.refusals import nonsense, refusal_of
from tailor.protocol import ChatRequest, EmbeddingRequest

log = logging.getLogger("tailor.upstreams")

_FORWARDED: Final = frozenset(
    {
        "messages",
        "temperature",
        "top_p",
        "n",
        "stop",
        "max_completion_tokens",
        "max_tokens",
        "seed",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "verbosity",
        "prediction",
        "modalities",
    }
)
"""Nothing else goes out: a field such as `api_base` could lead some endpoints, and their keys, elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What one answer used."""

    model: str
    """As callers call it."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    nanodollars: int


Record = Callable[[str, Spent], None]
"""Writes down what a tenant used; called in a thread."""


class Gateway:
    """All upstreams of a server. For one event loop; close it there."""

    def __init__(self, upstreams: Sequence[Upstream], *, record: Record) -> None:
        self.upstreams = tuple(upstreams)
        self._record = record
        self._recording = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tailor-usage")
        self._lines = {
            model.name: _Line(model=model, peer=peer)
            for peer in map(Peer, self.upstreams)
            for model in peer.upstream.models
        }

    @property
    def models(self) -> tuple[UpstreamModel, ...]:
        """What can be asked."""
        return tuple(line.model for line in self._lines.values())

    def find(self, name: str) -> UpstreamModel | None:
        """The model of that name, if it is an upstream's."""
        line = self._lines.get(name)
        return None if line is None else line.model

    async def complete(self, tenant: str, request: ChatRequest) -> JsonObject:
        """The whole answer, as the upstream gave it but for the model's name.

        Raises:
            TailorError: the upstream, or a limit on it, does not let us have one.
        """
        line = self._line(request.model)
        body = _body_of(request, line.model) | {"stream": False}
        answer: Any
        async with line.peer.turn(), in_our_words(line.peer.upstream):
            async with asyncio.timeout(line.peer.upstream.timeout_seconds):
                answer = await line.peer.post(body)
        if not is_completion(answer):
            raise nonsense(line.peer.upstream, "is no chat completion")
        said = sum(len(str(choice["message"].get("content") or "")) for choice in answer["choices"])
        await asyncio.shield(self._spend(tenant, line, counts_of_chat(request, answer.get("usage"), said)))
        return {**answer, "model": line.model.name}

    async def stream(self, tenant: str, request: ChatRequest) -> UpstreamStream:
        """The answer in pieces, once the upstream has begun it; raises as `complete`."""
        line = self._line(request.model)
        body = _body_of(request, line.model) | {"stream": True, "stream_options": {"include_usage": True}}
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(line.peer.turn())
            async with in_our_words(line.peer.upstream):
                response = await stack.enter_async_context(line.peer.opened(body))
            return UpstreamStream(
                line=line,
                response=response,
                spend=lambda usage, said: self._spend(tenant, line, counts_of_chat(request, usage, said)),
                stack=stack.pop_all(),
            )

    async def embed(self, tenant: str, request: EmbeddingRequest) -> JsonObject:
        """Vectors, as the upstream gave them but for the model's name; raises as `complete`."""
        line = self._line(request.model)
        body = request.model_dump(exclude_unset=True) | {"model": line.model.model}
        answer: Any
        async with line.peer.turn(), in_our_words(line.peer.upstream):
            async with asyncio.timeout(line.peer.upstream.timeout_seconds):
                answer = await line.peer.post(body, route="embeddings")
        if not is_embedding(answer, len(request.inputs)):
            raise nonsense(line.peer.upstream, "is no list of embeddings")
        read = sum(len(each) for each in request.inputs)
        usage = {"completion_tokens": 0} | answer["usage"] if isinstance(answer.get("usage"), dict) else None
        counts = counts_of(usage) or (guessed_tokens(read), 0, 0)
        await asyncio.shield(self._spend(tenant, line, counts))
        return {**answer, "model": line.model.name}

    async def close(self) -> None:
        """Let go of all connections."""
        for peer in {id(line.peer): line.peer for line in self._lines.values()}.values():
            await peer.close()
        self._recording.shutdown()

    def _line(self, name: str) -> _Line:
        if name not in self._lines:
            raise NotFound(f"The model {name[:100]!r} does not exist.", param="model", code="model_not_found")
        return self._lines[name]

    def _spend(self, tenant: str, line: _Line, counts: tuple[int, int, int]) -> asyncio.Future[None]:
        """Count what an answer used: prompt, completion and cached tokens."""
        prompt, completion, cached = counts
        line.peer.allowance.spend(prompt + completion)
        spent = Spent(
            model=line.model.name,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=cached,
            nanodollars=line.model.nanodollars(
                prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion
            ),
        )
        return asyncio.get_running_loop().run_in_executor(self._recording, self._write_down, tenant, spent)

    def _write_down(self, tenant: str, spent: Spent) -> None:
        try:
            self._record(tenant, spent)
        except TailorError as error:
            # The caller has their answer: it does not fail because we cannot count.
            log.error("%s by %s was not counted: %s", spent, tenant, error.message)


class UpstreamStream:
    """An answer on its way; iterate it once, and close it in any case."""

    def __init__(
        self,
        *,
        line: _Line,
        response: httpx2.Response,
        spend: Callable[[Any, int], asyncio.Future[None]],
        stack: AsyncExitStack,
    ) -> None:
        self._line = line
        self._response = response
        self._spend = spend
        self._stack = stack
        self._usage: Any = None
        self._said = 0
        self._is_open = True

    async def __aiter__(self) -> AsyncIterator[JsonObject]:
        """Chunks as the upstream sends them, but for the model's name; the one with the usage too."""
        upstream = self._line.peer.upstream
        try:
            async with in_our_words(upstream):
                async for data in events(upstream, self._response):
                    if data == b"[DONE]":
                        return
                    yield self._chunk(upstream, data)
                raise nonsense(upstream, "ended before it was whole")
        finally:
            await self.close()

    async def close(self) -> None:
        """Count what was used, and let go of the connection; may be repeated."""
        if self._is_open:
            self._is_open = False
            counted = self._spend(self._usage, self._said)
            await self._stack.aclose()
            await asyncio.shield(counted)

    def _chunk(self, upstream: Upstream, data: bytes) -> JsonObject:
        chunk = parsed(upstream, data)
        if isinstance(chunk, dict) and "error" in chunk:
            raise refusal_of(upstream, 500, {}, chunk)
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            raise nonsense(upstream, "holds something that is no chunk")
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk["choices"]:
            delta = choice.get("delta") if isinstance(choice, dict) else None
            self._said += len(str(delta.get("content") or "")) if isinstance(delta, dict) else 0
        return chunk | {"model": self._line.model.name}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A model and how to reach it."""

    model: UpstreamModel
    peer: Peer = field(repr=False)


def _body_of(request: ChatRequest, model: UpstreamModel) -> JsonObject:
    return request.model_dump(exclude_unset=True, include=set(_FORWARDED)) | {"model": model.model}
