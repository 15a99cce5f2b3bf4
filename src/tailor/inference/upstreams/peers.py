"""One upstream over HTTP: our turn to ask, its answers read within bounds, its failures in our words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx2

from tailor.errors import RateLimited, TailorError
from tailor.inference.upstreams.config import MissingKey, Upstream
from tailor.inference.upstreams.limits import Allowance
from tailor.inference.upstreams.refusals import nonsense, refusal_of, too_slow, unreachable
from tailor.protocol.strict import StrictJsonError, parse_strict

log = logging.getLogger("tailor.upstreams")

JsonObject = dict[str, Any]

_MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_MAX_LINE_BYTES: Final = 4 * 1024 * 1024
_CONNECT_SECONDS: Final = 10.0
_QUEUE_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 2.0


class Peer:
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
            return parsed(self.upstream, await _read(self.upstream, response))

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
                    said = parsed(self.upstream, await _read(self.upstream, response))
                refusal = refusal_of(self.upstream, response.status_code, response.headers, said)
                if response.status_code in (429, 503) and refusal.retry_after_seconds is not None:
                    self.allowance.close_for(refusal.retry_after_seconds)
                log.warning("upstream %s answered %d", self.upstream.name, response.status_code)
                raise refusal
            yield response

    async def close(self) -> None:
        """Let go of its connections."""
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


@asynccontextmanager
async def in_our_words(upstream: Upstream) -> AsyncIterator[None]:
    """What fails within is raised as one of our errors, that says nothing of addresses."""
    try:
        yield
    except (TimeoutError, httpx2.TimeoutException) as error:
        log.warning("upstream %s: %s", upstream.name, type(error).__name__)
        raise too_slow(upstream) from None
    except httpx2.HTTPError as error:
        log.warning("upstream %s: %s", upstream.name, type(error).__name__)
        raise unreachable(upstream) from None


async def _read(upstream: Upstream, response: httpx2.Response) -> bytes:
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            raise nonsense(upstream, f"is longer than {_MAX_ANSWER_BYTES:,} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def events(upstream: Upstream, response: httpx2.Response) -> AsyncIterator[bytes]:
    """The data of server-sent events. Cut at newlines alone: other separators are text inside JSON."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            raise nonsense(upstream, f"has a line longer than {_MAX_LINE_BYTES:,} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def parsed(upstream: Upstream, data: bytes) -> Any:
    """JSON that can be kept; raises what an upstream's nonsense is."""
    try:
        return parse_strict(data, max_bytes=_MAX_ANSWER_BYTES, max_depth=64)
    except StrictJsonError as error:
        raise nonsense(upstream, f"is not JSON that can be kept ({error.code})") from None
