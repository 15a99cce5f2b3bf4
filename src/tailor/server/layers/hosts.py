"""Answers only for names that are ours: a page in a browser cannot reach us by rebinding its own (R11)."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from tailor.errors import Misdirected

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


class Hosts:
    """Exact allowlist on the Host header, before anything is looked at."""

    def __init__(self, app: ASGIApp, *, allowed: frozenset[str]) -> None:
        self.app = app
        self.allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] == "http":
            self._check([value for name, value in scope["headers"] if name == b"host"])
        await self.app(scope, receive, send)

    def _check(self, values: list[bytes]) -> None:
        found = _HOST.fullmatch(values[0].decode("latin-1")) if len(values) == 1 else None
        if found is None or found[1].lower() not in self.allowed:
            raise Misdirected(
                "This server does not answer for the host named in the Host header.",
                remedy="Start it with --allow-host NAME to make it do so.",
            )
