"""Turns whatever goes wrong below into OpenAI's error envelope; nothing else ever leaves the server."""

from __future__ import annotations

import logging
import math
from random import SystemRandom

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailor.errors import Internal, TailorError
from tailor.protocol import random_name

log = logging.getLogger("tailor.server")
_JITTER = SystemRandom()


class Failures:
    """Last resort: our own errors become their envelope, anything else a 500 with an incident id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            return
        except TailorError as error:
            failure = error
        except Exception as error:
            failure = as_incident(error, f"{scope['method']} {scope['path']!r}")
        else:
            return
        if not started:
            await envelope(failure)(scope, receive, send)
        # Else the answer is under way: returning without its end makes uvicorn cut the connection,
        # which the client sees as an error, while a clean end would look like a whole answer.


def as_incident(error: Exception, where: str) -> Internal:
    """Log `error` with its traceback under a fresh id; the caller learns the id and nothing more."""
    incident = f"incident-{random_name(12)}"
    log.error("%s in %s", incident, where, exc_info=error)
    return Internal(
        f"Something failed on our side ({incident}).", remedy="The server's log says what, under that id."
    )


def envelope(error: TailorError) -> JSONResponse:
    """The answer that says `error`."""
    headers = {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after_seconds is not None:
        # Unlike for each, so that those who were sent away together do not come back together.
        seconds = error.retry_after_seconds * _JITTER.uniform(0.75, 1.25)
        headers["retry-after"] = str(math.ceil(seconds))
        headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
    return JSONResponse(error.to_wire(), status_code=error.status, headers=headers)
