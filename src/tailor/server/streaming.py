"""Server-sent events to a client that may be slow, silent or gone (reliability 3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tailor.errors import TailorError, Unavailable
from tailor.server.chunks import as_event
from tailor.server.layers.failures import as_incident
from tailor.server.layers.traffic import Traffic

Result = TypeVar("Result")
_PING = b": ping\n\n"


async def unless_gone(request: Request, traffic: Traffic, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled as soon as the caller leaves or the server must stop.

    Raises:
        ClientDisconnect: the caller left; there is nobody to answer.
        Unavailable: the server is stopping.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    cut = asyncio.ensure_future(traffic.cut.wait())
    try:
        await asyncio.wait({task, gone, cut}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise _stopping()
    finally:
        await _end(task, gone, cut)


class EventStream(Response):
    """Sends events as they come, a comment when there are none, and never waits for ever for a reader.

    After an error the client gets it as an event and the connection is cut: a clean end would look like
    a whole answer.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        *,
        close: Callable[[], None],
        traffic: Traffic,
        ping_seconds: float,
        stall_seconds: float,
    ) -> None:
        """`close` is called in any case at the end, also where `events` was never begun."""
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.events = events
        self.close = close
        self.traffic = traffic
        self.ping_seconds = ping_seconds
        self.stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self.stall_seconds):
                await send(message)

        gone = asyncio.ensure_future(_disconnected(receive))
        cut = asyncio.ensure_future(self.traffic.cut.wait())
        try:
            await send_in_time({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._events_and_ending(gone, cut, scope["path"])) as events:
                async for event in events:
                    more = bool(event)
                    await send_in_time({"type": "http.response.body", "body": event, "more_body": more})
        except (ClientDisconnect, TimeoutError):
            pass
        finally:
            self.close()
            await _end(gone, cut)

    async def _events_and_ending(
        self, gone: asyncio.Task[None], cut: asyncio.Task[Any], path: str
    ) -> AsyncGenerator[bytes, None]:
        """The events, then nothing (an empty body ends the answer) or the error and no end."""
        try:
            async with aclosing(self._events_or_pings(gone, cut)) as events:
                async for event in events:
                    yield event
            yield b""
        except ClientDisconnect:
            raise
        except TailorError as error:
            yield as_event(error.to_wire())
        except Exception as error:
            yield as_event(as_incident(error, path).to_wire())

    async def _events_or_pings(
        self, gone: asyncio.Task[None], cut: asyncio.Task[Any]
    ) -> AsyncGenerator[bytes, None]:
        events = aiter(self.events)
        coming = asyncio.ensure_future(_next(events))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {coming, gone, cut}, timeout=self.ping_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if coming in done:
                    event = coming.result()
                    if event is None:
                        return
                    yield event
                    coming = asyncio.ensure_future(_next(events))
                elif gone in done:
                    raise ClientDisconnect
                elif cut in done:
                    raise _stopping()
                else:
                    yield _PING
        finally:
            await _end(coming)
            await events.aclose()  # type: ignore[attr-defined]


async def _next(events: AsyncIterator[bytes]) -> bytes | None:
    return await anext(events, None)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs, and let each come to its end."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="server_stopping", retry_after_seconds=2.0)
