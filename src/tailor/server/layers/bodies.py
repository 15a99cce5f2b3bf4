"""Bounds on what a request may carry, checked before it is read and counted while it is (R8)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailor.errors import InvalidRequest, TooLarge, UnsupportedMedia
from tailor.server.config import ServerConfig

UPLOAD_PATH = "/v1/files"
CHAT_PATH = "/v1/chat/completions"
_RUNS_PATH = re.compile(r"/v1/evals/[^/]+/runs")
"""A run of an eval may bring its rows with it."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Bodies:
    """Refuses a request by its head alone where it can."""

    def __init__(self, app: ASGIApp, *, config: ServerConfig) -> None:
        self.app = app
        self.config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _check_text(scope["raw_path"], "path")
        _check_text(scope["query_string"], "query")
        if scope["method"] not in _WITH_BODY:
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        _check_headers(Headers(scope=scope), limit, scope["path"])
        await self.app(scope, _counted(receive, limit), send)

    def _limit(self, path: str) -> int:
        if path == UPLOAD_PATH:
            return self.config.max_upload_bytes
        may_be_long = path == CHAT_PATH or _RUNS_PATH.fullmatch(path)
        return self.config.max_chat_bytes if may_be_long else self.config.max_json_bytes


def _check_text(raw: bytes, part: str) -> None:
    """Percent-escapes must spell UTF-8 without NUL: no look-up should have to think of the rest."""
    decoded = unquote_to_bytes(raw)
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The {part} of the URL is not UTF-8.", code="invalid_url") from error
    if b"\0" in decoded:
        raise InvalidRequest(f"The {part} of the URL contains a NUL character.", code="invalid_url")


def _check_headers(headers: Headers, limit: int, path: str) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia(
            "Compressed bodies are not taken.", remedy="Send the body without Content-Encoding."
        )
    announced = headers.get("content-length")
    length = int(announced) if announced and announced.isdecimal() else None
    if length is not None and length > limit:
        raise _too_large(limit)
    is_empty = length == 0 or (length is None and "transfer-encoding" not in headers)
    wanted = "multipart/form-data" if path == UPLOAD_PATH else "application/json"
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted and not is_empty:
        raise UnsupportedMedia(f"This route takes {wanted}, not {given or 'a body without Content-Type'!r}.")


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` that raises TooLarge once more than `limit` bytes have come."""
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return receive_counted


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit:,} bytes that this route takes.")
