"""Pages for people: they quote what strangers wrote, so whatever slips through must load and run nothing."""

from __future__ import annotations

from typing import Final

from starlette.responses import HTMLResponse

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}


def html_page(html: str) -> HTMLResponse:
    """The page, as browsers must treat it."""
    return HTMLResponse(html, headers=_HEADERS)
