"""Counts requests in progress: refuses more than the bound, and lets the server drain before it stops."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Receive, Scope, Send

from tailor.errors import Unavailable
from tailor.server.layers.authentication import PUBLIC_PATHS

_RETRY_SECONDS = 2.0


class Traffic:
    """Admission and drain (reliability 3.2). Lives on the server's event loop only."""

    def __init__(self, *, max_requests: int) -> None:
        self.max_requests = max_requests
        self.draining = False
        """New requests are answered 503."""
        self.cut = asyncio.Event()
        """Set when requests still in progress must end now; streams send their error line."""
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Take nothing new and wait until everything in progress has ended, `seconds` at most; then cut."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            self.cut.set()

    async def settle(self, seconds: float) -> None:
        """Wait for what has been cut to end, `seconds` at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    def over(self, app: ASGIApp) -> ASGIApp:
        """`app` with its requests counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
                await app(scope, receive, send)
                return
            self._admit()
            try:
                await app(scope, receive, send)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()

        return counted

    def _admit(self) -> None:
        if self.draining:
            raise Unavailable(
                "The server is stopping.", code="server_stopping", retry_after_seconds=_RETRY_SECONDS
            )
        if self._running >= self.max_requests:
            raise Unavailable(
                "The server has as many requests in progress as it takes.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._running += 1
        self._idle.clear()
