"""Asks upstreams: limits kept, answers checked, what they cost counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tailor.errors import NotFound, RateLimited, TailorError
from tailor.inference.upstreams.config import MissingKey, Upstream, UpstreamModel
from tailor.inference.upstreams.limits import Allowance
from tailor.inference.upstreams.refusals import nonsense, refusal_of, too_slow, unreachable
from tailor.protocol import ChatRequest, EmbeddingRequest
from tailor.protocol.strict import StrictJsonError, parse_strict

log = logging.getLogger("tailor.upstreams")

JsonObject = dict[str, Any]

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

_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_MAX_LINE_BYTES: Final = 4 * 1024 * 1024
_CONNECT_SECONDS: Final = 10.0
_QUEUE_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 2.0
_CHARACTERS_PER_TOKEN: Final = 4


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
            for peer in map(_Peer, self.upstreams)
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
        async with line.peer.turn(), _in_our_words(line.peer.upstream):
            async with asyncio.timeout(line.peer.upstream.timeout_seconds):
                answer = await line.peer.post(body)
        if not _is_completion(answer):
            raise nonsense(line.peer.upstream, "is no chat completion")
        said = sum(len(str(choice["message"].get("content") or "")) for choice in answer["choices"])
        await asyncio.shield(self._spend(tenant, line, _counts(request, answer.get("usage"), said)))
        return {**answer, "model": line.model.name}

    async def stream(self, tenant: str, request: ChatRequest) -> UpstreamStream:
        """The answer in pieces, once the upstream has begun it; raises as `complete`."""
        line = self._line(request.model)
        body = _body_of(request, line.model) | {"stream": True, "stream_options": {"include_usage": True}}
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(line.peer.turn())
            async with _in_our_words(line.peer.upstream):
                response = await stack.enter_async_context(line.peer.opened(body))
            return UpstreamStream(
                line=line,
                response=response,
                spend=lambda usage, said: self._spend(tenant, line, _counts(request, usage, said)),
                stack=stack.pop_all(),
            )

    async def embed(self, tenant: str, request: EmbeddingRequest) -> JsonObject:
        """Vectors, as the upstream gave them but for the model's name; raises as `complete`."""
        line = self._line(request.model)
        body = request.model_dump(exclude_unset=True) | {"model": line.model.model}
        answer: Any
        async with line.peer.turn(), _in_our_words(line.peer.upstream):
            async with asyncio.timeout(line.peer.upstream.timeout_seconds):
                answer = await line.peer.post(body, route="embeddings")
        if not _is_embedding(answer, len(request.inputs)):
            raise nonsense(line.peer.upstream, "is no list of embeddings")
        read = sum(len(each) for each in request.inputs)
        usage = {"completion_tokens": 0} | answer["usage"] if isinstance(answer.get("usage"), dict) else None
        counts = _counts_of(usage) or (-(-read // _CHARACTERS_PER_TOKEN), 0, 0)
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
            async with _in_our_words(upstream):
                async for data in _events(upstream, self._response):
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
        chunk = _parsed(upstream, data)
        if isinstance(chunk, dict) and "error" in chunk:
            raise refusal_of(upstream, 500, {}, chunk)
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            raise nonsense(upstream, "holds something that is no chunk")
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk["choices"]:
            delta = choice.get("delta") if isinstance(choice, dict) else None
            self._said += len(str(delta.get("content") or "")) if isinstance(delta, dict) else 0
        return chunk | {"model": self._line.model.name}


class _Peer:
    """One upstream: its connections, its limits."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.allowance = Allowance(
            upstream.name,
            requests_per_minute=upstream.requests_per_minute,
            tokens_per_minute=upstream.tokens_per_minute,
        )
        self._turns = asyncio.Semaphore(upstream.concurrency)
        self._client: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Our turn to ask; raises RateLimited when it does not come, or a limit is reached."""
        if self.upstream.needs_key:
            raise MissingKey(
                f"The server has no key for the upstream {self.upstream.name}.",
                remedy="The operator can look at it with `tailor doctor`.",
            )
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise RateLimited(
                f"All {self.upstream.concurrency} requests to the upstream {self.upstream.name} at once are "
                "taken.",
                code="upstream_rate_limit",
                retry_after_seconds=_BUSY_SECONDS,
            ) from None
        try:
            self.allowance.admit()
            yield
        finally:
            self._turns.release()

    async def post(self, body: JsonObject, *, route: str = "chat/completions") -> Any:
        """The JSON that answers a body."""
        async with self.opened(body, route=route) as response:
            return _parsed(self.upstream, await _read(self.upstream, response))

    @asynccontextmanager
    async def opened(
        self, body: JsonObject, *, route: str = "chat/completions"
    ) -> AsyncIterator[httpx2.Response]:
        """An answer that is a success and has not been read yet; raises what stands in any other."""
        address = f"{self.upstream.base_url}/{route}"
        async with self._open_client().stream("POST", address, json=body) as response:
            if response.status_code != 200:
                said: Any = None
                with suppress(TailorError):
                    said = _parsed(self.upstream, await _read(self.upstream, response))
                refusal = refusal_of(self.upstream, response.status_code, response.headers, said)
                if response.status_code in (429, 503) and refusal.retry_after_seconds is not None:
                    self.allowance.close_for(refusal.retry_after_seconds)
                log.warning("upstream %s answered %d", self.upstream.name, response.status_code)
                raise refusal
            yield response

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _open_client(self) -> httpx2.AsyncClient:
        if self._client is None:
            key = self.upstream.key
            self._client = httpx2.AsyncClient(
                headers={"user-agent": "tailor"}
                | ({} if key is None else {"authorization": f"Bearer {key.get_secret_value()}"}),
                timeout=httpx2.Timeout(self.upstream.timeout_seconds, connect=_CONNECT_SECONDS),
                limits=httpx2.Limits(
                    max_connections=None, max_keepalive_connections=self.upstream.concurrency
                ),
                follow_redirects=False,
                trust_env=False,
            )
        return self._client


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A model and how to reach it."""

    model: UpstreamModel
    peer: _Peer = field(repr=False)


@asynccontextmanager
async def _in_our_words(upstream: Upstream) -> AsyncIterator[None]:
    try:
        yield
    except (TimeoutError, httpx2.TimeoutException) as error:
        log.warning("upstream %s: %s", upstream.name, type(error).__name__)
        raise too_slow(upstream) from None
    except httpx2.HTTPError as error:
        log.warning("upstream %s: %s", upstream.name, type(error).__name__)
        raise unreachable(upstream) from None


def _body_of(request: ChatRequest, model: UpstreamModel) -> JsonObject:
    return request.model_dump(exclude_unset=True, include=set(_FORWARDED)) | {"model": model.model}


async def _read(upstream: Upstream, response: httpx2.Response) -> bytes:
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            raise nonsense(upstream, f"is longer than {_MAX_ANSWER_BYTES:,} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def _events(upstream: Upstream, response: httpx2.Response) -> AsyncIterator[bytes]:
    """The data of server-sent events. Cut at newlines alone: other separators are text inside JSON."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            raise nonsense(upstream, f"has a line longer than {_MAX_LINE_BYTES:,} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _parsed(upstream: Upstream, data: bytes) -> Any:
    try:
        return parse_strict(data, max_bytes=_MAX_ANSWER_BYTES, max_depth=64)
    except StrictJsonError as error:
        raise nonsense(upstream, f"is not JSON that can be kept ({error.code})") from None


def _is_completion(answer: Any) -> bool:
    """Whether there is at least one choice, and every one is a message."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices)
    )


def _is_embedding(answer: Any, count: int) -> bool:
    """Whether there is one vector for each input."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return (
        isinstance(data, list)
        and len(data) == count
        and all(isinstance(each, dict) and isinstance(each.get("embedding"), list | str) for each in data)
    )


def _counts(request: ChatRequest, usage: Any, said: int) -> tuple[int, int, int]:
    """Tokens of a chat; where the upstream does not say what it used, by the characters `said`."""
    counts = _counts_of(usage)
    if counts is None:
        asked = sum(len(str(message.content or "")) for message in request.messages)
        counts = (-(-asked // _CHARACTERS_PER_TOKEN), -(-said // _CHARACTERS_PER_TOKEN), 0)
    return counts


def _counts_of(usage: Any) -> tuple[int, int, int] | None:
    """Prompt, completion and cached tokens; None where the upstream does not say."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"), cached or 0)
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return None
    prompt, completion, cached = (int(count or 0) for count in counts)
    return prompt, completion, min(cached, prompt)
