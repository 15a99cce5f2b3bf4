"""Gives every request an id and tells how long it took (contract section 4)."""

from __future__ import annotations

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailor.protocol import new_id

log = logging.getLogger("tailor.requests")

API_VERSION = "2020-10-01"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Identity:
    """Outermost layer: the headers that OpenAI's client reads from every answer."""

    def __init__(self, app: ASGIApp, *, organization: str) -> None:
        self.app = app
        self.organization = organization

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope["tailor.request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.monotonic() - started) * 1000))
                headers["openai-version"] = API_VERSION
                headers["openai-organization"] = self.organization
                headers["x-content-type-options"] = "nosniff"
                # Nothing that a caller wrote but the path, and that quoted (reliability R14).
                method, status = scope["method"], message["status"]
                is_read = method == "GET" and status < 400
                log.info("%s %s %r %d", request_id, method, scope["path"], status, extra={"is_read": is_read})
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _request_id(offered: str | None) -> str:
    """The caller's own id when it is harmless, else a fresh one (reliability R6)."""
    return offered if offered and _REQUEST_ID.fullmatch(offered) else new_id("request")
