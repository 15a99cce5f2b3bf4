"""Tells callers of the model what they may still send: true figures from the engine's own bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailor.server.layers.authentication import CALLER, caller_of
from tailor.server.layers.bodies import CHAT_PATH

if TYPE_CHECKING:
    from tailor.inference import Headroom


ELSEWHERE = "tailor.elsewhere"


def mark_elsewhere(scope: Scope) -> None:
    """Say that another machine answers this request: our engine's figures would mean nothing."""
    scope[ELSEWHERE] = True


class RateLimits:
    """Adds the `x-ratelimit-*` headers to every answer of an inference route, refusals included."""

    def __init__(self, app: ASGIApp, *, headroom: Callable[[str], Headroom | None]) -> None:
        """`headroom` of a tenant; None while nothing is known."""
        self.app = app
        self.headroom = headroom

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", CHAT_PATH):
            await self.app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start" and CALLER in scope and ELSEWHERE not in scope:
                headroom = self.headroom(caller_of(scope).tenant)
                if headroom is not None:
                    MutableHeaders(scope=message).update(_headers(headroom))
            await send(message)

        await self.app(scope, receive, send_with_limits)


def as_duration(seconds: float) -> str:
    """`12ms`, `1.5s`, `6m0s`: durations as OpenAI's headers write them."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"


def _headers(headroom: Headroom) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(headroom.max_requests),
        "x-ratelimit-remaining-requests": str(headroom.num_requests),
        "x-ratelimit-reset-requests": as_duration(headroom.seconds_to_all_requests),
        "x-ratelimit-limit-tokens": str(headroom.max_tokens),
        "x-ratelimit-remaining-tokens": str(headroom.num_tokens),
        "x-ratelimit-reset-tokens": as_duration(headroom.seconds_to_all_tokens),
    }
